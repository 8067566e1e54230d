"""`python -m balise`: the same as the `balise` command."""

from __future__ import annotations

import sys

from balise.cli import main

if __name__ == "__main__":
    sys.exit(main())
