#!/usr/bin/env bash
# Network depth: condense with ConvNets of one depth (rows), evaluate with each (columns).
#
#   bash scripts/sweep_depth.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_depth.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [ConvNetD1 ConvNetD2 ConvNetD3 ConvNetD4]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_depth "$@"
