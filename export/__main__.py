"""`python -m export ...` is `modelyard export ...`."""

import sys

from modelyard import main

main(["export", *sys.argv[1:]])
