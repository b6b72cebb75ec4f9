"""Some classes in place of all: their names, the data that is left, and whole runs on them."""

import logging

import pytest
import torch

import buffer
import main_MTT
from condense.cli import build
from condense.data import RealData, load_data, select_classes
from condense.data.classes import parse_classes
from tests.conftest import Script
from tests.data.test_real import make_real

NAMES = ["ant", "bee", "cat", "dog", "3-4", "7"]


@pytest.mark.parametrize("text, ids", [("0,2", [0, 2]), ("3, 1 ,0", [3, 1, 0]), ("1-3", [1, 2, 3]),
                                       ("4,0-1", [4, 0, 1]), ("dog,ant", [3, 0]),
                                       ("bee,5", [1, 5]), ("3-4,0", [4, 0]), ("2-2,1", [2, 1])])
def test_classes_are_named_by_number_by_range_or_by_name_in_any_order(text, ids):
    assert parse_classes(text, NAMES) == ids


@pytest.mark.parametrize("text, mend", [
    ("0,6", "there is no class 6; the classes are 0 to 5"), ("4-9", "no class 9"), ("3-1", "write 1-3"),
    ("0,cta", "did you mean cat?"), ("0,", "--classes '0,' holds an empty word; name classes by"),
    ("", "--classes '' names no class; name classes by number"), (" , ", "names no class"),
    ("3,,4", "--classes '3,,4' holds an empty word; name classes by number, range or name"),
    ("ant,0", "class 0 (ant) twice; name it once"),
    ("1,0-2", "twice"), ("2", "name at least 2"), ("-1,2", "unknown class '-1'")])
def test_classes_that_cannot_be_are_refused_with_the_mend(text, mend):
    with pytest.raises(ValueError) as error:
        parse_classes(text, NAMES)
    assert mend in str(error.value) and "\n" not in str(error.value)


def test_chosen_classes_are_those_images_renumbered_in_the_order_given():
    real = make_real((5, 9, 3, 4))                         # the first pixel tells the class
    few = select_classes(real, [3, 1])
    assert (few.class_names, few.class_ids, few.class_counts) == (["c3", "c1"], [3, 1], [4, 9])
    for label, original in enumerate(few.class_ids):
        assert torch.equal(few.images[few.indices_of(label)], real.images[real.indices_of(original)])
        theirs = real.test_images[real.test_labels == original]
        assert torch.equal(few.test_images[few.test_labels == label], theirs) and len(theirs)
    assert sorted(few.test_labels.unique().tolist()) == [0, 1]
    assert (few.mean, few.std) == (real.mean, real.std)     # one normalised space for all parts
    assert few.fingerprint != real.fingerprint and real.class_ids is None


def test_order_still_leads_to_the_images_as_they_came_in():
    images = torch.randint(0, 256, (40, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(40) % 4
    real = RealData("toy", images.clone(), labels, images[:8].clone(), labels[:8], list("abcd"))
    few = select_classes(real, [2, 0])
    assert torch.equal(images[few.order], few.images)
    assert labels[few.order].tolist() == [2] * 10 + [0] * 10


def test_chosen_classes_are_said_and_whitening_is_fitted_on_them_alone(caplog):
    with caplog.at_level(logging.INFO, "condense"):
        few = load_data("Digits", classes="3,9,0-1", zca=True)
    assert "4 of 10 classes: 3, 9, 0, 1" in caplog.text
    pixels = load_data("Digits", classes="3,9,0-1").images.flatten(1).double() / 255
    assert torch.allclose(few.zca.mean.double(), pixels.mean(0), atol=1e-6)
    assert few.images.double().mean(0).abs().max() < 1e-4  # not so under the whitening of all ten classes
    assert load_data("Digits", zca=True).images[:400].double().mean(0).abs().max() > 0.1


def test_what_is_whitened_with_all_classes_gives_none_away():
    with pytest.raises(ValueError, match="choose classes before whitening"):
        select_classes(load_data("Digits", zca=True), [0, 1])


def test_classes_without_any_test_image_are_refused():
    real = make_real((5, 9, 3))
    real.test_labels[:] = 0
    with pytest.raises(ValueError, match="no test image"):
        select_classes(real, [1, 2])


def test_a_run_condenses_the_chosen_classes_and_its_result_says_so(dm, tmp_path, capsys):
    result = dm.run(tmp_path, "--classes", "8,1-2")
    images, labels = result["data"][0]
    assert labels.tolist() == [0, 0, 1, 1, 2, 2] and len(images) == 6
    assert result["meta"]["classes"] == [8, 1, 2] and result["meta"]["class_names"] == ["8", "1", "2"]
    assert result["meta"]["options"]["classes"] == "8,1-2"
    real = load_data("Digits", classes="8,1-2")
    assert result["meta"]["fingerprint"] == real.fingerprint
    code, line = dm.error_line(capsys, tmp_path, "--classes", "8,1,3")
    assert code == 2 and "--classes was 8,1-2, is 8,1,3" in line and "--save_path" in line
    code, line = dm.error_line(capsys, tmp_path, "--classes", "8,12", "--overwrite")
    assert code == 2 and "there is no class 12; the classes are 0 to 9" in line
    code, line = dm.error_line(capsys, tmp_path)
    assert code == 2 and "--classes was 8,1-2, is None" in line


def test_all_classes_are_no_choice_of_classes(dm, tmp_path):
    assert dm.run(tmp_path)["meta"]["classes"] is None


def test_experts_of_other_classes_are_refused_and_the_command_names_the_classes(tmp_path, capsys):
    settings = {"dataset": "Digits", "model": "ConvNetD1", "num_experts": 1, "train_epochs": 2, "device": "cpu",
                "buffer_path": str(tmp_path / "buffers"), "progress": False}
    buffer.main(build(buffer.Config, {**settings, "classes": "0-2"}))
    mtt = Script(main_MTT, "--model", "ConvNetD1", "--buffer_path", str(tmp_path / "buffers"), "--max_start_epoch", "1",
                 "--expert_epochs", "1", "--syn_steps", "2", "--Iteration", "1", "--epoch_eval_train", "1",
                 "--lr_img", "1", "--eval_every", "0", "--select_on", "none")
    code, line = mtt.error_line(capsys, tmp_path / "others", "--classes", "3,4,5")
    assert code == 2 and "saw other images" in line and "--classes, " in line and "--classes 3,4,5 --overwrite" in line
    assert "python buffer.py" in line
    assert mtt.run(tmp_path / "same", "--classes", "0-2")["meta"]["classes"] == [0, 1, 2]
