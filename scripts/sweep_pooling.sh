#!/usr/bin/env bash
# Pooling: condense with ConvNets of one pooling (rows), evaluate with each (columns).
#
#   bash scripts/sweep_pooling.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_pooling.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [ConvNetNP ConvNetMP ConvNetAP]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_pooling "$@"
