"""Flags of the original scripts that do nothing there, or are not offered here: a group for each of our scripts.

They are accepted in their spelling and hidden from --help. One without effect is answered by a line when it is given;
one that would ask for something else than what runs here is refused.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from condense.cli.groups import Options
from condense.cli.option import option


def no_effect(name: str, instead: str, kind: type = str, default: Any = None, aliases: Sequence[str] = (),
              said: str | None = None) -> tuple[str, Any, Any]:
    """Return the row of a flag that is answered: `instead` says what does its work here."""
    line = f"--{said or name} has no effect: {instead}"
    return name, kind if default is not None else kind | None, option(default, "", dead=line, aliases=aliases)


def refused(name: str, line: str | Callable[[Any], str], kind: type = str, default: Any = None,
            aliases: Sequence[str] = ()) -> tuple[str, Any, Any]:
    """Return the row of a flag that is refused with `line`, in which {value} stands for what was given."""
    return name, kind if default is not None else kind | None, option(default, "", refused=line, aliases=aliases)


def group(name: str, *rows: tuple[str, Any, Any]) -> Any:
    """Return the group of options `name`, a class for scripts to compose, of `rows`."""
    return dataclasses.make_dataclass(name, rows, bases=(Options,), frozen=True,
                                      namespace={"__module__": __name__})


DM = group("FlagsOfDM", no_effect("dis_metric", "DM compares features, not gradients"))

MTT = group(
    "FlagsOfMTT",
    no_effect("lr_init", "the step size begins as --lr_teacher", float),
    no_effect("batch_real", "only experts see real images", int),
    no_effect("force_save", "every set is saved with a picture", bool, False),
    no_effect("canvas_size", "it belongs to --texture, which is not offered", int),
    no_effect("canvas_samples", "it belongs to --texture, which is not offered", int),
    refused("texture", "--texture, the original's tileable textures, is not offered here; leave it out", bool, False),
)

BUFFER = group("FlagsOfBuffer", no_effect("batch_real", "experts train on minibatches of --batch_train", int))

CONTINUAL = group("FlagsOfContinual", refused(
    "zca", "--zca: whitening by the images of one step would give every step another space, and whitening by all "
    "classes would look ahead; leave --zca out", bool, False))

IDC = group(
    "FlagsOfIDC",
    refused("beta", "--beta {value:g} is not offered: CutMix draws areas by Beta(1, 1); leave it out", float, 1.0),
    refused("decode_type", "--decode_type {value} is not offered: training would use other images than evaluation; "
            "leave it out", str, "single"),
    refused("nclass", "--nclass and --dseed choose classes of ImageNet: name them, by --subset imagenet10, --subset "
            "imagenet100 or --classes", int, aliases=("dseed",)),
    refused("reproduce", "--reproduce stands for the published settings: give --config configs/IDC/CIFAR10_ipc10.yaml, "
            "or another one from there or configs/IDC_I", bool, False),
    no_effect("dsa", "see --dsa_strategy"),
    no_effect("rrc", "protocol idc crops only ImageNet"),
    no_effect("same_compute", "see --epoch_eval_train"),
    no_effect("weight_decay", "networks train as published for the data set", float,
              aliases=("weight-decay", "wd", "momentum"), said="weight_decay (nor --momentum)"),
    no_effect("norm_type", "name it in --model: ConvNetBN"),
    no_effect("depth", "name it in --model: ConvNetD4", int),
    no_effect("width", "name it in --model: ConvNetW64", float),
    no_effect("tag", "see --save_path"),
    no_effect("f_idx", "--match feat compares the last features"),
    no_effect("nclass_sub", "classes are matched one after another, with the memory of one", int, aliases=("phase",)),
    no_effect("epochs", "see --epoch_eval_train", int),
    no_effect("slct_type", "evaluate.py scores sets of others"),
    no_effect("load_memory", "images are on the device", aliases=("workers",)),
)

_UNROLLED = (
    no_effect("phase", "evaluate.py scores a set"),
    no_effect("test_nets_type", "--train_nets_type says it"),
    no_effect("test_batch_size", "see --chunk", int),
    no_effect("test_niter", "all test images count", int),
    no_effect("log_interval", "losses are logged as they come", int),
    no_effect("checkpoint_interval", "see --checkpoint_every, in updates", int),
    no_effect("num_workers", "images are on the device", int),
    no_effect("device_id", "see --device", int),
    no_effect("world_size", "one process does everything", int),
    no_effect("no_log", "the journal is in the result's folder", bool, False),
)

_OF_RTP = "--{} has no meaning with a few ordered steps; leave it out, or run main_RTP.py"
_OF_DD = "--{} has no meaning with many sampled steps; leave it out, or run main_DD.py without --inner_steps"


def _one_batch(cfg):
    """Word what --distilled_images_per_class_per_step comes to."""
    return ("--distilled_images_per_class_per_step follows from --ipc, which counts all steps; give --ipc "
            f"{cfg.distilled_images_per_class_per_step * cfg.distill_steps}")


DD = group(
    "FlagsOfDD", *_UNROLLED,
    refused("distilled_images_per_class_per_step", _one_batch, int),
    *(refused(name, _OF_RTP.format(name), int) for name in ("batch_real", "task_sampler_nc", "epoch_eval_train",
                                                             "batch_train")),
    refused("batch_syn", _OF_RTP.format("batch_syn"), int, aliases=("compressor_minibatch_size",)),
    refused("lr_net", _OF_RTP.format("lr_net"), float),
)

RTP = group(
    "FlagsOfRTP", *_UNROLLED,
    refused("distill_steps", _OF_DD.format("distill_steps"), int, 10),
    refused("distill_epochs", _OF_DD.format("distill_epochs"), int, 3),
    refused("epochs", "with many sampled steps, real images are drawn for each update, so --epochs has no meaning; "
            "give --Iteration", int, 400),
    refused("decay_epochs", _OF_DD.format("decay_epochs"), int, 40),
    refused("decay_factor", _OF_DD.format("decay_factor"), float, 0.5),
    refused("batch_size", _OF_DD.format("batch_size"), int, 1024),
    refused("train_nets_type", "many sampled steps train fresh networks; leave --train_nets_type {value} out", str,
            "unknown_init"),
    refused("sample_n_nets", "networks are always fresh; give --n_nets {value} and leave --sample_n_nets out", int),
    refused("objective", "--objective {value} needs trained networks; run main_DD.py with --train_nets_type "
            "loaded", str, "distill"),
    refused("mode", "--mode {value} needs trained networks; run main_DD.py with --train_nets_type "
            "loaded", str, "distill_basic"),
    refused("source_dataset", _OF_DD.format("source_dataset"), str),
    refused("source_data_path", _OF_DD.format("source_data_path"), str),
    no_effect("buffer_path", "networks are always fresh"),
    refused("attack_class", _OF_DD.format("attack_class"), int, 0),
    refused("target_class", _OF_DD.format("target_class"), int, 1),
)
