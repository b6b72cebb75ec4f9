"""Memories of bases and hallucinators: networks see every base once in an epoch, as in the run of each step's set."""

import json
from functools import partial

import pytest
import torch

import continual
from condense.continual.order import class_order
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.operators import Compute
from condense.run.results import load_result
from condense.run.script import run_script
from condense.training import TensorSet, siamese_protocols

FLAGS = ["--dataset", "Digits", "--model", "ConvNetD1", "--ipc", "4", "--steps", "2", "--seeds", "1", "--num_eval", "2",
         "--epoch_eval_train", "4", "--batch_train", "8", "--batch_real", "8", "--Iteration", "2", "--n_style", "3",
         "--methods", "DM+hallucinator", "--no-progress", "--device", "cpu"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continual")
    run_script(continual.main, continual.Config, continual.__doc__, [*FLAGS, "--save_path", str(folder)])
    return folder


def test_networks_see_one_image_of_each_base_in_an_epoch(compared):
    real, order, sets = load_data("Digits"), class_order(10, 2, 0), []
    for step, classes in enumerate(order.steps):
        result = load_result(next((compared / "cl_Digits_ConvNetD1_4ipc_2steps/seed0").glob(f"step{step}/*/res_*.pt")))
        images, labels = result["data"][0]
        assert len(images) == 5 * 3 * 3                    # (4 * 5 * 64 - 3 * 92) // (5 * 64) = 3 bases of a class
        sets.append((images, torch.tensor(classes)[labels]))
    memory, protocols = [torch.cat(tensors) for tensors in zip(*sets)], siamese_protocols(
        ["ConvNetD1"], 4, 0.01, 8, "color_crop_cutout_scale_rotate")

    def scored(views):
        scores = evaluate(TensorSet(*memory, views=views), real, protocols, 2,
                          partial(Streams(0), "evaluation", 0, 1), Compute(), progress=False)
        return [score.test_accuracy for score in scores["ConvNetD1"]]

    (path,) = compared.glob("scores_*.json")
    rows = json.loads(path.read_text())["methods"]["DM+hallucinator"]["accuracies"]
    assert [row[-1] for row in rows] == pytest.approx(scored(3), abs=1e-7)
    assert scored(1) != pytest.approx(scored(3), abs=1e-7)
