# shellcheck shell=bash
#
# Of every sweep (lists are words, apart by spaces):
#   DATASETS, IPCS, METHODS, MODELS   what to run, a cell for each combination. Images of your own are
#                      folder:PATH or file:PATH.npz; NAME:PATH gives a known data set a folder of its own
#   SEEDS     [0]      each seed is a cell; the table pools them
#   DATA_PATH [data]   folder of the data sets
#   OUT       [result/NAME_OF_SWEEP]   one folder per cell below it, and table.md and table.tex
#   JOBS      [1]      cells at a time; with several, each has cores / JOBS threads unless OMP_NUM_THREADS is set
#   PYTHON    [python] of the active environment
# Every flag goes on to the method's script. What a cell prints is in its folder's cell.log. Stopped or killed, the
# same command goes on from there; what is done is not repeated. --overwrite replaces what another command or a
# broken file left in the way.

# The sweeps are written in condense/sweeps/, their lists in its definitions.py. Here --help is answered, which needs
# no Python, and Python is found.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHON="${PYTHON:-python}"

# sweep NAME FLAG...: become the sweep of that name.
sweep() {
    local flag
    for flag in "$@"; do
        case "$flag" in -h|--help) usage; exit 0 ;; esac
    done
    "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' 2> /dev/null || {
        echo "error: $PYTHON is no Python with PyTorch; activate the environment (source .venv/bin/activate)," \
            "or PYTHON=..." >&2
        exit 2
    }
    exec "$PYTHON" "$ROOT/scripts/sweep.py" "$@"
}

usage() {                                              # the comments on top of the sweep and of this file
    awk 'FNR == 1 { top = 1; next } !/^#/ { top = 0 } top { sub(/^# ?/, ""); print }' "$0" "$ROOT/scripts/sweep.sh"
}
