#!/usr/bin/env bash
# Condense the embedded Digits images and hold the result against random real images and the full training set.
#   bash scripts/quickstart.sh            VENV=DIR bash scripts/quickstart.sh reuses an environment
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment run -r requirements.txt

out=result/quickstart
"$PYTHON" main_DM.py --config configs/quickstart.yaml --save_path "$out" --overwrite
"$PYTHON" evaluate.py "$out/res_DM_Digits_ConvNetD2_1ipc.pt" --stored --baselines random,full --output "$out/scores.json"
echo
echo "synthetic set: $out/res_DM_Digits_ConvNetD2_1ipc.pt"
echo "its picture:   $(ls -t "$out"/vis_DM_Digits_ConvNetD2_1ipc_exp0_iter*.png | head -n 1)"
