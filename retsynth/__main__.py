"""`python -m retsynth`."""

import sys

from retsynth.cli import main

if __name__ == "__main__":
    sys.exit(main())
