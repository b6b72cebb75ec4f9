#!/usr/bin/env bash
# Low rank against its host at equal stored bytes: same data, seeds, start and protocol. LoDM holds as many more images
# per class as fit into the bytes of DM's.
#
#   DATASETS=Digits MODELS=ConvNetD2 bash scripts/compare_low_rank.sh --Iteration 200 --num_exp 1 --num_eval 5
#   METHODS="DSA LoDSA" RANK=4 bash scripts/compare_low_rank.sh --Iteration 100
#
#   DATASETS [MNIST]  IPCS [1]  METHODS [DM LoDM; each LoX with its host X]  MODELS [ConvNet]
#   START [real]      where both start: real (for LoX by truncated SVD) or noise
#   RANK  [2]         of the LoX methods
#

# shellcheck source=scripts/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep compare_low_rank "$@"
