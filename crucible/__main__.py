"""`python -m crucible`: the command line."""

import sys

if __name__ == "__main__":
    from crucible.cli import main

    sys.exit(main())
