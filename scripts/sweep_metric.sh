#!/usr/bin/env bash
# Distance of gradients: condense with each network (rows) by each distance (columns), evaluate with the same network,
# batch norm replaced.
#
#   bash scripts/sweep_metric.sh
#   DATASETS=Digits MODELS="MLP ConvNet" bash scripts/sweep_metric.sh --Iteration 200 --num_exp 1 --num_eval 5
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DC]  METRICS [ours mse cos]
#   MODELS [MLP LeNet ConvNet AlexNet VGG11BN ResNet18BN_AP]
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep sweep_metric "$@"
