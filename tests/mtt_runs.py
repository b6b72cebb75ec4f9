"""What the tests of main_MTT.py share: short runs on Digits, and what they left."""

import torch

RESULT = "res_MTT_Digits_ConvNetD1_2ipc.pt"
UNSCORED = ["--eval_every", "0", "--num_eval", "1", "--epoch_eval_train", "0"]         # as little as there is
LONG = ["--Iteration", "40", "--checkpoint_every", "4", "--eval_every", "8"]
ALONE = ["--max_files", "1", "--max_experts", "1"]                                      # the first expert of all


def step_size(result):
    (syn_lr,) = result["meta"]["syn_lr"]
    return syn_lr


def lines_of(script, folder, event):
    return [line for line in script.journal(folder) if line["event"] == event]


def same_sets(one, other):
    tensors = [[tensor for entry in result["data"] for tensor in entry] for result in (one, other)]
    return step_size(one) == step_size(other) and all(map(torch.equal, *tensors))
