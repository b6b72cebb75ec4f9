#!/usr/bin/env bash
# Cross-architecture accuracy: condense with one network (rows), evaluate with others (columns). DC paper, table 2.
#
#   bash scripts/sweep_cross.sh
#   DATASETS=Digits METHODS=DM SEEDS="0 1" bash scripts/sweep_cross.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]
#   MODELS [MLP LeNet ConvNet AlexNet VGG11BN ResNet18BN_AP]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_cross "$@"
