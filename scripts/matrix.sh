#!/usr/bin/env bash
# The matrix: every objective (rows) with every form of the synthetic set (columns), all at the bytes of --ipc whole
# images. The settings below are for small images on a CPU: the digits at ipc 2 take three quarters of an hour on one
# core. Each method is scored by its own protocol, so compare along a row, not down a column. MTT's experts are made
# first.
#
#   bash scripts/matrix.sh
#   METHODS="DM IDC" FORMS="pixels low_rank" SEEDS="0 1" bash scripts/matrix.sh --num_eval 10
#
#   DATASETS [Digits]  IPCS [2]  METHODS [DC DSA DM MTT DD BPTT IDC]  MODELS [ConvNetD2]
#   FORMS     [all]    forms of the set, by the names of --parameterization
#   OUT/buffers        where MTT has its experts, five for each data set and model; --buffer_path names others
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"

: "${DATASETS:=Digits}" "${IPCS:=2}" "${METHODS:=DC DSA DM MTT DD BPTT IDC}" "${MODELS:=ConvNetD2}" "${FORMS:=all}"
NOTE="Each row is scored by its method's own protocol: compare along a row, not down a column."
methods=$METHODS

cells() {
    local METHODS form
    [ "$action" != plan ] || name_forms
    make_experts "$@"
    for METHODS in $methods; do
        for form in $FORMS; do
            choose "$METHODS" "$form"
            grid parameterization "$form" "${chosen[@]}" "$@"
        done
    done
}

# choose METHOD FORM: set `chosen`, the cell's settings; a flag that is given comes after them and is obeyed.
# Forms whose numbers are no pixels take Adam's steps, whose size does not hang on the loss. Minibatches of the student
# are as large as a set of pixels, so that forms of many images take no longer.
choose() {
    chosen=(--num_exp 1 --num_eval 5 --eval_every 0 --init real)
    [ "$1" = DD ] || chosen+=(--epoch_eval_train 100)
    case "$1" in
        DC|DSA) chosen+=(--Iteration 20 --batch_real 32) ;;
        DM) chosen+=(--Iteration 150 --batch_real 64) ;;
        MTT) chosen+=(--Iteration 50 --expert_epochs 2 --max_start_epoch 3 --syn_steps 10 --batch_syn 20 --lr_img 100
                      --select_on none --buffer_path "$OUT/buffers") ;;
        DD) chosen+=(--Iteration 40 --batch_size 256 --distill_steps 1 --distill_epochs 10 --distill_lr 0.1
                     --net_init default --lr_img 0.05) ;;
        BPTT) chosen+=(--Iteration 40 --inner_steps 20 --batch_syn 2 --batch_real 32 --lr_img 0.03) ;;
        IDC) chosen+=(--Iteration 3 --inner_loop 20 --batch_real 32 --n_data 256) ;;
    esac
    case "$2" in
        memory|hallucinator|latent_decoder) chosen+=(--optimizer adam --lr_img 0.01) ;;
    esac
    case "$1 $2" in
        "IDC memory"|"IDC hallucinator"|"IDC latent_decoder") chosen+=(--lr_img 0.1) ;;  # of which IDC takes a part
        "MTT memory") chosen+=(--optimizer sgd --lr_img 10 --init noise --Iteration 100) ;;       # as published
        "BPTT memory") chosen+=(--lr_img 0.03) ;;
    esac
    [ "$2" != latent_decoder ] || chosen+=(--warmup_steps 2000)
}

# name_forms: refuse what is no column of the matrix, and put names in the place of all.
name_forms() {
    # shellcheck disable=SC2086
    FORMS="$("$PYTHON" - "$ROOT" $FORMS <<'CODE'
import sys
sys.path.insert(0, sys.argv[1])
from condense.core.registry import lookup
from condense.synthetic import PARAMETERIZATIONS
names = PARAMETERIZATIONS if sys.argv[2:] == ["all"] else sys.argv[2:]
try:
    for name in names:
        lookup(PARAMETERIZATIONS, name, "parameterization")
except ValueError as error:
    print(f"error: FORMS: {error}", file=sys.stderr)
    sys.exit(2)
print(*names)
CODE
    )" || exit 2
}

# make_experts FLAG...: plan, or make, the experts of every data set and model; those FLAGs that describe images count.
make_experts() {
    case " $methods " in *" MTT "*) ;; *) return 0 ;; esac
    case " $*" in *" --buffer_path"*) return 0 ;; esac
    local METHODS=MTT IPCS=${IPCS%% *} SEEDS=${SEEDS%% *} after="$action" action=experts
    grid "" "" "$@"
    while [ "$busy" -gt 0 ]; do wait_a_moment; done
}

experts() {
    local flag value=""
    folder="buffers/${label}_$model"
    [ "$after" = run ] || { total=$((total + 1)); return 0; }
    local given=()
    for flag in "$@"; do
        case "$flag" in
            --overwrite|--zca|--im_size=*|--res=*|--resize=*|--subset=*|--classes=*|--device=*|--precision=*)
                given+=("$flag") ;;
            --im_size|--res|--resize|--subset|--classes|--device|--precision) given+=("$flag"); value=next; continue ;;
            *) [ -z "$value" ] || given+=("$flag") ;;
        esac
        value=""
    done
    start buffer.py --num_experts 5 --train_epochs 10 --batch_train 32 --buffer_path "$OUT/buffers" \
        ${given[@]+"${given[@]}"} --dataset "$name" --data_path "$path" --model "$model"
}

for row in $methods; do
    case "$row" in
        DC|DSA|DM|MTT|DD|BPTT|IDC) ;;
        *) complain "METHODS: $row is no row of the matrix; choose of DC DSA DM MTT DD BPTT IDC" ;;
    esac
done
sweep dataset,ipc,model,method parameterization "$@"
