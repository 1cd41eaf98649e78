"""``python -m sb3_tdac.zoo`` is ``sb3-tdac``."""

import sys

from sb3_tdac.zoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
