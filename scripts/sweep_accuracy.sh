#!/usr/bin/env bash
# Accuracy by images per class, method and data set: the main tables of the DC, DSA and DM papers.
#
#   bash scripts/sweep_accuracy.sh                        all 45 cells
#   DATASETS="Digits MNIST" IPCS="1 10" METHODS=DM bash scripts/sweep_accuracy.sh --Iteration 200 --num_eval 5
#
#   DATASETS [MNIST FashionMNIST SVHN CIFAR10 CIFAR100]  IPCS [1 10 50]  METHODS [DC DSA DM]  MODELS [ConvNet]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_accuracy "$@"
