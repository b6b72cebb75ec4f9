# Sourced by the scripts in this folder: goes to the repository's root, makes or reuses the environment, sets $PYTHON.
# VENV=DIR uses the environment in DIR instead of .venv; it is made there if it does not exist.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
VENV="${VENV:-.venv}"
PYTHON="$VENV/bin/python"

# environment STAMP PACKAGE...: install what the stamp says is not installed yet.
environment() {
    local stamp="$VENV/.condense-$1-$(cksum < requirements.txt | cut -d' ' -f1)"
    shift
    [ -f "$stamp" ] && [ -x "$PYTHON" ] && return
    if ! "$PYTHON" -m pip --version > /dev/null 2>&1; then
        echo "making the environment $VENV (with PyTorch: about 2 minutes, 6 GB)"
        python3 -m venv "$VENV" || { echo "error: python3 -m venv failed; install Python 3.10 or newer with venv" >&2; exit 1; }
    fi
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@" || exit 1
    touch "$stamp"
}
