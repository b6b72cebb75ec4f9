"""One cell of a sweep, as the sweep starts it: see condense/sweeps/cell.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.sweeps.cell import main  # noqa: E402

sys.exit(main(*sys.argv[1:]))
