"""`python -m mixtures.learn.missing_pixels`: write the table and the picture."""

import sys

from mixtures.learn.missing_pixels.cli import main

if __name__ == "__main__":
    sys.exit(main())
