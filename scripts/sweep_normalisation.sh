#!/usr/bin/env bash
# Normalisation: condense with ConvNets of one normalisation (rows), evaluate with each (columns).
#
#   bash scripts/sweep_normalisation.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_normalisation.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [ConvNetNN ConvNetBN ConvNetLN ConvNetIN ConvNetGN]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_normalisation "$@"
