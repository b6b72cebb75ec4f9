#!/usr/bin/env bash
# Activation: condense with ConvNets of one activation (rows), evaluate with each (columns).
#
#   bash scripts/sweep_activation.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_activation.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [ConvNetAS ConvNetAR ConvNetAL ConvNetASwish]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_activation "$@"
