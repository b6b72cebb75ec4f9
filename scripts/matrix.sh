#!/usr/bin/env bash
# The matrix: every objective (rows) with every form of the synthetic set (columns), all at the bytes of --ipc whole
# images. Its settings (condense/sweeps/matrix.py) are for small images on a CPU: the digits at ipc 2 take three quarters
# of an hour on one core. Each method is scored by its own protocol, so compare along a row, not down a column. MTT's
# experts are made first.
#
#   bash scripts/matrix.sh
#   METHODS="DM IDC" FORMS="pixels low_rank" SEEDS="0 1" bash scripts/matrix.sh --num_eval 10
#
#   DATASETS [Digits]  IPCS [2]  METHODS [DC DSA DM MTT DD BPTT IDC]  MODELS [ConvNetD2]
#   FORMS     [all]    forms of the set, by the names of --parameterization
#   OUT/buffers        where MTT has its experts, five for each data set and model; --buffer_path names others
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep matrix "$@"
