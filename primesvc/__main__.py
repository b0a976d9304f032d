"""`python -m primesvc`."""

import sys

from primesvc.cli import main

if __name__ == "__main__":
    sys.exit(main())
