#!/usr/bin/env bash
# Siamese augmentation: condense and evaluate with each strategy (rows) on each data set (columns). DSA paper, table 4.
#
#   bash scripts/sweep_strategy.sh
#   DATASETS=Digits IPCS=1 STRATEGIES="crop flip" bash scripts/sweep_strategy.sh --Iteration 200 --num_eval 5
#
#   DATASETS [MNIST FashionMNIST SVHN CIFAR10]  IPCS [10]  METHODS [DSA]  MODELS [ConvNet]
#   STRATEGIES [color crop cutout flip scale rotate, each alone; all of them, without and with flip]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_strategy "$@"
