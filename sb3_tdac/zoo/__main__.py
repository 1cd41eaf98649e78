"""Runs ``sb3-tdac`` by ``python -m sb3_tdac.zoo``."""

import sys

from sb3_tdac.zoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
