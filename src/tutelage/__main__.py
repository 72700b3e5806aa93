"""`python -m tutelage` is the command `tutelage`."""

from __future__ import annotations

import sys

from tutelage.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
