"""What main_IDC.py leaves to the data, what it refuses, and what it says."""

import logging

import pytest

import main_IDC
from condense.data import load_data
from condense.training.protocols import Protocol
from tests.idc_runs import PLAIN, options, script


class Images:
    """What `settled` asks of real data."""

    def __init__(self, name, channel=3, side=32, num_classes=10):
        self.name, self.channel, self.num_classes, self.im_size = name, channel, num_classes, (side, side)
        self.spec = channel, num_classes, self.im_size


CIFAR10, SVHN = Images("CIFAR10"), Images("SVHN")
MNIST, FASHION = Images("MNIST", 1, 28), Images("FashionMNIST", 1, 28)
IMAGENET10, IMAGENET100 = Images("ImageNet", 3, 224), Images("ImageNet", 3, 224, 100)


@pytest.fixture(scope="module")
def idc():
    return script()


@pytest.mark.parametrize("real, niter, metric, lr_img, n_data, early", [
    (CIFAR10, 2000, "mse", 5e-3, 2000, 0), (SVHN, 2000, "mse", 5e-3, 500, 0), (MNIST, 2000, "l1", 1e-4, 500, 0),
    (FASHION, 2000, "l1", 1e-4, 500, 0), (IMAGENET10, 500, "l1", 3e-3, 500, 10),
    (IMAGENET100, 500, "l1", 1e-3, 500, 10)], ids=lambda value: getattr(value, "name", None))
def test_auto_is_what_the_paper_sets_for_the_data(real, niter, metric, lr_img, n_data, early):
    cfg = main_IDC.settled(options(), real)
    assert (cfg.niter, cfg.metric, cfg.lr_img, cfg.n_data, cfg.early) == (niter, metric, lr_img, n_data, early)
    given = options("--niter", "3", "--metric", metric, "--lr_img", "7", "--n_data", "9", "--early", "2")
    cfg = main_IDC.settled(given, real)
    assert (cfg.niter, cfg.metric, cfg.lr_img, cfg.n_data, cfg.early) == (3, metric, 7, 9, 2)


def test_pretrained_networks_have_no_early_epochs_unless_they_are_given():
    assert main_IDC.settled(options("--pt_from", "5"), IMAGENET100).early == 0
    assert main_IDC.settled(options("--pt_from", "5", "--early", "1"), IMAGENET100).early == 1


@pytest.mark.parametrize("real, flags, expected", [
    (MNIST, [], ("color_crop", "vanilla", "vanilla", "color_crop_scale_rotate")),
    (MNIST, ["--factor", "1"], ("color_crop_cutout", "cut", "auto", "auto")),
    (MNIST, PLAIN, ("color_crop_cutout", "cut", "auto", "auto")),
    (FASHION, [], ("color_crop_cutout", "cut", "auto", "auto")),
    (CIFAR10, [], ("color_crop_cutout", "cut", "auto", "auto")),
    (MNIST, ["--mixup", "cut", "--mixup_net", "cut", "--aug_type", "crop", "--dsa_strategy", "crop"],
     ("crop", "cut", "cut", "crop"))])
def test_several_digits_of_mnist_in_the_place_of_one_are_not_mixed(real, flags, expected):
    cfg = main_IDC.settled(options(*flags), real)
    assert (cfg.aug_type, cfg.mixup_net, cfg.mixup, cfg.dsa_strategy) == expected


@pytest.mark.parametrize("flags", [["--metric", "l1"], ["--match", "feat"]])
def test_a_step_size_is_asked_for_where_none_is_published(flags):
    with pytest.raises(ValueError, match="--lr_img auto is published for --match grad with --metric mse on these "
                                         "images; give"):
        main_IDC.settled(options(*flags), CIFAR10)
    assert main_IDC.settled(options(*flags, "--lr_img", "1"), CIFAR10).lr_img == 1


@pytest.mark.parametrize("flags, name", [([], "IDC"), (["--factor", "1"], "IDC-I"), (PLAIN, "IDC-I"),
                                         (["--parameterization", "low_rank"], "IDC"), (["--factor", "3"], "IDC")])
def test_results_are_named_for_the_papers_two_methods(flags, name):
    assert main_IDC.idc.method_name(options(*flags)) == name


@pytest.mark.parametrize("flags, number", [([], 4), (["--factor", "3"], 9), (PLAIN, 1),
                                           (["--parameterization", "low_rank", "--rank", "1"], 4)])
def test_epochs_follow_the_number_of_training_images(flags, number):
    real = load_data("Digits")
    assert main_IDC.idc.outline(options("--dataset", "Digits", *flags), real).images_per_epoch == number


@pytest.mark.parametrize("flags, expected", [
    ([], 2000), (["--niter", "3"], 3), (["--niter", "3", "--inner_loop", "20"], 15), (["--Iteration", "7"], 7),
    (["--Iteration", "7", "--niter", "3", "--inner_loop", "20"], 7)], ids=str)
def test_iterations_are_told_in_hundreds_of_steps_or_directly(flags, expected):
    assert main_IDC.idc.iterations_of(main_IDC.settled(options(*flags), CIFAR10)) == expected


def test_result_says_what_was_left_to_the_data(tmp_path):
    one = script()
    place = one.settings.index("--Iteration")
    one.settings[place:place + 2] = ["--niter", "0"]
    result = one.run(tmp_path, *PLAIN)
    assert result["meta"]["iterations"] == [0] and result["meta"]["options"]["Iteration"] is None
    settings = result["meta"]["settings"][0]
    assert settings == {"metric": "l1", "lr_img": 1, "n_data": 16, "early": 0, "aug_type": "color_crop_cutout",
                        "mixup_net": "cut"}


def test_evaluation_repeats_the_accuracies_of_the_run(idc, tmp_path, score):
    result = idc.run(tmp_path, "--num_eval", "2", "--epoch_eval_train", "3")
    (row,), _ = score(idc.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [result["accs_all_exps"]["ConvNetD1"]]
    assert row["recipe"]["schedule"] == "idc" and row["recipe"]["cutmix"] == 0.5


def test_evaluation_is_as_it_is_asked_for(idc, tmp_path):
    result = idc.run(tmp_path, *PLAIN, "--mixup", "vanilla", "--lr_net", "0.02", "--batch_train", "5", "--eval_mode",
                     "SS", "--epoch_eval_train", "2", "--Iteration", "0")
    protocol = Protocol(**result["meta"]["protocols"]["ConvNetD1"])
    assert (protocol.cutmix, protocol.lr, protocol.batch_size, protocol.epochs) == (0, 0.02, 5, 2)
    assert protocol.strategy == "color_crop_cutout_scale_rotate"


@pytest.mark.parametrize("flags, mend", [
    (["--zca"], "leave --zca out"),
    (["--beta", "0.5"], "--beta 0.5 is not offered: CutMix draws areas by Beta(1, 1); leave it out"),
    (["--decode_type", "bound"], "--decode_type bound is not offered"),
    (["--nclass", "10"], "name them, by --subset imagenet10"),
    (["--dseed", "1"], "name them, by --subset imagenet10"),
    (["--reproduce"], "give --config configs/IDC/CIFAR10_ipc10.yaml"),
    (["--n_data", "0"], "give --net_epoch 0 instead"),
    (["-d", "digits"], "did you mean Digits?"),
    (["--mix_p", "1.5"], "--mix_p is a probability, not 1.5; lower it"),
    (["--match", "feat", "--metric", "l1"], "leave --metric, --bias and --fc out"),
    (["--match", "feat", "--fc", "True"], "leave --metric, --bias and --fc out"),
    (["--pt_num", "2"], "--pt_num 2 counts epochs from --pt_from on; also give --pt_from"),
    (["--metric", "l2"], "unknown value 'l2'"),
    (["--aug_type", "color_krop"], "did you mean crop?"),
    (["--dsa_strategy", "flap"], "did you mean flip?"),
    (["--model", "MLP"], "--model MLP has no convolution, and only gradients of convolutions are matched; give --fc "
                         "True"),
    (["--epoch_eval_train", "0"], "--epoch_eval_train must be 1 or larger, not 0"),
    (["--inner_loop", "0"], "--inner_loop must be 1 or larger, not 0"),
    (["--batch_syn_max", "0"], "--batch_syn_max must be 1 or larger, not 0"),
    (["--mixup", "mix"], "unknown value 'mix'"),
    (["--factor", "9"], "use --factor 8"),
    (["--pt_from", "3", "--model", "ConvNetBN"], "leave --pt_from out"),
    (["--pt_from", "3", "--buffer_path", "nowhere"], "python buffer.py --dataset Digits --model ConvNetD1"),
    (["--ipc", "60"], "class '8' has 139"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(idc, tmp_path, capsys, flags, mend):
    code, line = idc.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.iterdir())


def test_a_multilayer_perceptron_is_matched_by_its_linear_layers(idc, tmp_path):
    result = idc.run(tmp_path, *PLAIN, "--model", "MLP", "--fc", "True")
    assert result["data"][0][0].isfinite().all()


def test_short_flags_of_the_original_are_those_of_the_long_ones():
    short = options("-d", "SVHN", "-n", "ResNet10", "-i", "3", "-f", "1", "-a", "color", "--size", "28", "--data_dir",
                    "x")
    long = options("--dataset", "SVHN", "--model", "ResNet10", "--ipc", "3", "--factor", "1", "--aug_type", "color",
                   "--im_size", "28", "--data_path", "x")
    assert vars(short) == vars(long) != vars(options())


def test_flags_of_the_original_are_taken_or_answered(idc, tmp_path, capsys):
    log = logging.getLogger("condense")
    log.handlers.clear()                                   # as in a process that has just started
    log.setLevel(logging.NOTSET)
    idc.run(tmp_path, *PLAIN, "--repeat", "1", "--lr", "0.03", "--batch_size", "4", "--f_idx", "4", "--nclass_sub",
            "20", "--phase", "1", "--load_memory", "True", "--dsa", "True", "--weight-decay", "5e-4", "--Iteration",
            "0")
    told = idc.load(tmp_path)["meta"]["options"]
    assert (told["num_eval"], told["lr_net"], told["batch_train"]) == (1, 0.03, 4)
    assert "f_idx" not in told and "phase" not in told
    said = capsys.readouterr().out
    for flag in ("f_idx", "nclass_sub", "load_memory", "dsa", "weight_decay (nor --momentum)"):
        assert f"--{flag} has no effect: " in said
