"""`python -m ltx2` is the command `ltx2`."""

import sys

from ltx2.cli import main

if __name__ == "__main__":
    sys.exit(main())
