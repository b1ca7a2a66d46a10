"""`python -m serving ...` is `modelyard serve ...`."""

import sys

from modelyard import main

main(["serve", *sys.argv[1:]])
