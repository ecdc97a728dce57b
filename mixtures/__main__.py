"""`python -m mixtures`: a tour of the library, and commands for one's own tables."""

import sys

from mixtures.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
