"""Run a sweep of condense/sweeps/ by its name; scripts/sweep.sh calls it, from any current folder.

    python scripts/sweep.py sweep_accuracy --Iteration 200
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from condense.sweeps.__main__ import main
    sys.exit(main(sys.argv[1:]))
except KeyboardInterrupt:                                # before any cell was started, or at the table
    sys.exit(130)
