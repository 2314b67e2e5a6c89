"""`python -m multirun_core` is the program `multirun`."""

from __future__ import annotations

import sys

from multirun_core._cli import main

if __name__ == "__main__":
    sys.exit(main())
