"""`python -m mixtures`: fit every class of the zoo to handwritten digits, compare, complete,
draw.
"""

import sys

from mixtures.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
