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

set -euo pipefail
set -f                                     # lists are split into words, never expanded to file names
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
: "${SEEDS:=0}" "${DATA_PATH:=data}" "${OUT:=result/$(basename "$0" .sh)}" "${JOBS:=1}" "${PYTHON:=python}"

total=0 ended=0 busy=0 failed=0 running="" planned=" " report="" stopped="" NOTE=""
cell_of=() since=()                        # by process id

# sweep ROWS COLUMNS FLAG...: plan the cells, run them, print their table, below it NOTE. FLAGs go to every cell.
sweep() {
    local rows="$1" columns="$2" code=0
    shift 2
    prepare "$@"
    action=plan; cells "$@"
    trap 'stop 2' INT; trap 'stop 15' TERM; trap 'stop 1' HUP
    action=run; cells "$@"
    while [ "$busy" -gt 0 ]; do wait_a_moment; done
    if [ -n "$stopped" ]; then
        echo "stopped; the same command goes on from there" >&2
        exit $((128 + stopped))
    fi
    trap - INT TERM HUP
    echo
    "$PYTHON" "$ROOT/scripts/table.py" "$OUT" --rows "$rows" --columns "$columns" ${NOTE:+--note "$NOTE"} --write \
        || code=$?
    [ "$failed" -gt 0 ] || return "$code"
    printf '\n%s of %s cells failed; mend this and start the sweep again (--overwrite replaces what is in the way):\n' \
        "$failed" "$total" >&2
    printf '%s' "$report" >&2
    return 1
}

# The cells of a sweep; one that varies something beside the lists of `grid` has its own.
cells() {
    grid "" "" "$@"
}

# grid OPTION VALUE FLAG...: a cell for each combination of the lists, with --OPTION VALUE unless that is empty.
grid() {
    local dataset method ipc model seed
    for dataset in $DATASETS; do for ipc in $IPCS; do for method in $METHODS; do for model in $MODELS; do
        for seed in $SEEDS; do cell "$@"; done
    done; done; done; done
}

# cell OPTION VALUE FLAG...: plan or run the cell that the loops of `grid` are at.
cell() {
    local option="$1" value="$2" name="${dataset%%:*}" path="$DATA_PATH" label base folder flag
    shift 2
    for flag in "$@"; do
        [ -z "$option" ] || [ "${flag%%=*}" != "--$option" ] \
            || complain "this sweep sets --$option itself; say which in the list that --help names"
    done
    [ "$name" = "$dataset" ] || path="${dataset#*:}"
    base="$(basename "$path")"
    case "$name" in folder) label="folder-$base" ;; file) label="file-${base%.*}" ;; *) label="$name" ;; esac
    folder="${label}_ipc${ipc}_${method}_${model}${value:+_$value}/seed$seed"
    "$action" "$@"
}

plan() {
    case "$planned" in
        *" $folder "*) complain "two cells would share $OUT/$folder; name each once, and paths that end alike apart" ;;
    esac
    planned="$planned$folder " total=$((total + 1))
    mkdir -p "$OUT/$folder" 2> /dev/null || complain "cannot write to OUT=$OUT; name a folder that can be written to"
    printf '%s %s\n' order "$total" dataset "$label" ipc "$ipc" method "$method" model "$model" seed "$seed" \
        ${option:+"$option" "$value"} > "$OUT/$folder/cell.txt"
}

# Flags of the published runs come first, so that the user's override them; what the cell is comes last.
run() {
    [ "$method" != DSA ] || set -- --init real "$@"
    [ "$method" != BPTT ] || set -- --inner_steps 150 --inner_momentum 0.9 --net_init default "$@"
    case "$method $model" in DC\ MLP|LoDC\ MLP|*DSA\ MLP) set -- --lr_img 0.01 "$@" ;; esac
    case "$method" in DC|LoDC|*DSA) set -- "$@" --method "${method#Lo}" ;; esac
    start "$(script_of "$method")" "$@" ${option:+"--$option" "$value"} --dataset "$name" --data_path "$path" \
        --ipc "$ipc" --model "$model" --seed "$seed" --save_path "$OUT/$folder"
}

# start SCRIPT FLAG...: run it for the folder that the loops are at, as soon as there is room.
start() {
    local script="$1"
    shift
    while [ "$busy" -ge "$JOBS" ]; do wait_a_moment; done
    [ -z "$stopped" ] || return 0
    "$PYTHON" "$ROOT/scripts/sweep_cell.py" $$ "$OUT/$folder" "$PYTHON" "$ROOT/$script" "$@" &
    cell_of[$!]="$folder" since[$!]=$SECONDS running="$running $!" busy=$((busy + 1))
    [ -z "$stopped" ] || kill -TERM "$!" || true       # asked to stop while it was being started
}

script_of() {
    case "$1" in
        DSA) echo main_DC.py ;; LoDSA) echo main_LoDC.py ;; BPTT) echo main_DD.py ;; *) echo "main_$1.py" ;;
    esac
}

wait_a_moment() {
    local pid still=""
    sleep 0.2 || true                                  # Ctrl-C ends it
    for pid in $running; do
        if kill -0 "$pid" 2> /dev/null; then still="$still $pid"; else take_note "$pid"; fi
    done
    running="$still"
}

# take_note PID: count a cell that ended, and say how.
take_note() {
    local code=0 folder="${cell_of[$1]}" reason
    wait "$1" || code=$?
    busy=$((busy - 1)) ended=$((ended + 1))
    [ -z "$stopped" ] || return 0
    case "$code" in
        0) echo "[$ended/$total] done in $((SECONDS - since[$1])) s: $folder" ;;
        3) echo "[$ended/$total] was done: $folder" ;;
        *) reason="$folder: $(tail -n 1 "$OUT/$folder/cell.log" 2> /dev/null || echo "no output") (exit code $code)"
           echo "[$ended/$total] FAILED: $reason"
           failed=$((failed + 1)) report="$report$reason"$'\n' ;;
    esac
}

# stop SIGNAL: no more cells; those at work write their checkpoints, and a second Ctrl-C stops them at once.
stop() {
    stopped="$1"
    echo "stopping: $busy cells put down what they have" >&2
    local pid
    for pid in $running; do kill -TERM "$pid" 2> /dev/null || true; done
}

# prepare FLAG...: whatever can be refused is refused here, before anything is written.
prepare() {
    local flag script cores
    for flag in "$@"; do answer "$flag"; done
    case "$JOBS" in ''|*[!0-9]*|0) complain "JOBS must be 1 or larger, not '$JOBS'" ;; esac
    "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' 2> /dev/null \
        || complain "$PYTHON is no Python with PyTorch; activate the environment (source .venv/bin/activate), or PYTHON=..."
    for script in $(for method in $METHODS; do script_of "$method"; done | sort -u); do
        [ -f "$ROOT/$script" ] || complain "METHODS: there is no script $script"
        check_flags "$ROOT/$script" "$@"
    done
    [ "$JOBS" -gt 1 ] || return 0
    cores="$(getconf _NPROCESSORS_ONLN)"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > JOBS ? cores / JOBS : 1))}"
}

answer() {
    local own
    case "${1%%=*}" in
        -h|--help) usage; exit 0 ;;
        --dataset) own=DATASETS ;;  --data_path) own=DATA_PATH ;;  --ipc) own=IPCS ;;   --method) own=METHODS ;;
        --model) own=MODELS ;;      --seed) own=SEEDS ;;           --save_path) own=OUT ;;
        *) return 0 ;;
    esac
    complain "a sweep sets ${1%%=*} itself; say which in front of the command: $own=\"...\" bash $0"
}

usage() {                                              # the comments on top of the sweep and of this file
    awk 'FNR == 1 { top = 1; next } !/^#/ { top = 0 } top { sub(/^# ?/, ""); print }' "$0" "$ROOT/scripts/sweep.sh"
}

# check_flags SCRIPT FLAG...: a misspelt flag is one line now instead of one per cell. A sweep of several forms has
# them in FORMS; each has flags of its own.
check_flags() {
    "$PYTHON" - "$ROOT" "${FORMS:-}" "$@" <<'CODE'
import runpy, sys
root, forms, script, *flags = sys.argv[1:]
sys.path.insert(0, root)
from condense.run.script import run_script
from condense.synthetic import PARAMETERIZATIONS
forms = [form for form in PARAMETERIZATIONS if forms == "all" or form in forms.split()]
config = runpy.run_path(script)["Config"]
for form in [["--parameterization", form] for form in forms] or [[]]:
    run_script(lambda cfg: None, config, "", [*flags, *form])
CODE
}

complain() {
    echo "error: $*" >&2
    exit 2
}
