"""Table of the results below a folder, compared with random real images: see condense/sweeps/table.py.

    python scripts/table.py result/sweep_accuracy --rows model,ipc,method --columns dataset
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.sweeps.table import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
