"""`python -m training ...` is `modelyard train ...`."""

import sys

from modelyard import main

main(["train", *sys.argv[1:]])
