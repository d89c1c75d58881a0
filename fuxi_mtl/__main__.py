"""`python -m fuxi_mtl`: see :mod:`fuxi_mtl.cli`."""

import sys

from fuxi_mtl.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
