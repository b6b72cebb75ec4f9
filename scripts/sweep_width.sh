#!/usr/bin/env bash
# Network width: condense with ConvNets of one width (rows), evaluate with each (columns).
#
#   bash scripts/sweep_width.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_width.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [ConvNetW32 ConvNetW64 ConvNetW128 ConvNetW256]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_width "$@"
