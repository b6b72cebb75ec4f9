#!/usr/bin/env bash
# Check the code's form (ruff) and its types (mypy), then run the whole test suite; arguments go to pytest.
#   bash scripts/test.sh                  VENV=DIR bash scripts/test.sh reuses an environment
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment test -r requirements.txt "pytest>=8" "hypothesis>=6.120" "pytest-xdist>=3.6" "ruff>=0.9" "setuptools>=77" "mypy>=2.4" "beartype>=0.23"

"$PYTHON" -m ruff check .
"$PYTHON" -m mypy

# One thread per process and one process per core: small tensors gain nothing from more threads.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Property tests draw the same examples every time; --hypothesis-profile=default draws new ones.
exec "$PYTHON" -m pytest -n "${JOBS:-auto}" --hypothesis-profile=ci "$@"
