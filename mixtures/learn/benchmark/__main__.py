"""`python -m mixtures.learn.benchmark`: reproduce the table, or the comparison of depths."""

import sys

from mixtures.learn.benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
