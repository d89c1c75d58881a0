"""The command line: trains, measures, exports and compares experiments.

    python run_expid.py --expid MMoE_with_GN --gpu 0
    python run_expid.py --expid ShareBottom_default MMoE_default --seed 1 2 3 --set epochs=2

The same as `python -m fuxi_mtl run`; `python -m fuxi_mtl --help` shows what else there is.
"""

import sys

from fuxi_mtl.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
