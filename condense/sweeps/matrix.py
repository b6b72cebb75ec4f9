"""The matrix: the settings of each objective with each form of the set, for small images on a CPU, and its experts."""

from collections.abc import Iterator, Sequence

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.methods import EXPERTS_SCRIPT, METHODS
from condense.sweeps.plan import Cell, Grid, SweepRequest, place_data
from condense.synthetic import PARAMETERIZATIONS

FLAGS_OF_IMAGES = ("--zca", "--im_size", "--res", "--resize", "--subset", "--classes")
FLAGS_OF_EXPERTS = (*FLAGS_OF_IMAGES, "--overwrite", "--device", "--precision")       # those that buffer.py gets
EVERY_CELL = "--num_exp 1 --num_eval 5 --eval_every 0 --init real"
# Minibatches of the student are as large as a set of pixels, so that forms of many images take no longer.
SETTINGS = {
    "DC": "--epoch_eval_train 100 --Iteration 20 --batch_real 32",
    "DSA": "--epoch_eval_train 100 --Iteration 20 --batch_real 32",
    "DM": "--epoch_eval_train 100 --Iteration 150 --batch_real 64",
    "MTT": "--epoch_eval_train 100 --Iteration 50 --expert_epochs 2 --max_start_epoch 3 --syn_steps 10 "
           "--batch_syn 20 --lr_img 100 --select_on none",
    "DD": "--Iteration 40 --batch_size 256 --distill_steps 1 --distill_epochs 10 --distill_lr 0.1 "
          "--net_init default --lr_img 0.05",
    "BPTT": "--epoch_eval_train 100 --Iteration 40 --inner_steps 20 --batch_syn 2 --batch_real 32 --lr_img 0.03 "
            "--distill_lr 0.02 --optimizer adam --clip_grad none",
    "IDC": "--epoch_eval_train 100 --Iteration 3 --inner_loop 20 --batch_real 32 --n_data 256",
}
# Forms whose numbers are no pixels take Adam's steps, whose size does not depend on the loss.
SETTINGS_OF_FORMS = dict.fromkeys(("memory", "hallucinator", "latent_decoder"), "--optimizer adam --lr_img 0.01")
SETTINGS_OF_PAIRS = {
    **{("IDC", form): "--lr_img 0.1" for form in SETTINGS_OF_FORMS},                  # of which IDC takes a part
    ("MTT", "memory"): "--optimizer sgd --lr_img 10 --init noise --Iteration 100",    # as published
    ("BPTT", "memory"): "--lr_img 0.03",
}
EXPERTS = "--num_experts 5 --train_epochs 10 --batch_train 32"


def matrix_grids(request: SweepRequest) -> list[Grid]:
    """Return a grid for each method and form; raises InputError for what is no row or column of the matrix."""
    for name in request.lists["METHODS"]:
        if name not in SETTINGS:
            raise InputError(f"METHODS: {name} is no row of the matrix; choose of {' '.join(SETTINGS)}")
    return [Grid([name], settings(name, form, request.out), "parameterization", form)
            for name in request.lists["METHODS"] for form in forms(request.lists["FORMS"])]


def forms(names: list[str]) -> list[str]:
    """Return the names of forms that the word list FORMS asks for: `all` stands for each there is."""
    if names == ["all"]:
        return list(PARAMETERIZATIONS)
    for name in names:
        try:
            lookup(PARAMETERIZATIONS, name, "parameterization")
        except InputError as error:
            raise InputError(f"FORMS: {error}") from None
    return names


def settings(name: str, form: str, out: str) -> tuple[str, ...]:
    """Return the flags of a cell of the matrix; one that the user gives comes after them and is obeyed."""
    texts = [EVERY_CELL, SETTINGS[name], SETTINGS_OF_FORMS.get(form, ""), SETTINGS_OF_PAIRS.get((name, form), "")]
    experts = ("--buffer_path", f"{out}/buffers") if METHODS[name].experts else ()
    warm_up = ("--warmup_steps", "2000") if form == "latent_decoder" else ()
    return (*" ".join(texts).split(), *experts, *warm_up)


def plan_experts(request: SweepRequest) -> list[Cell]:
    """Return the cells that make experts, one for each data set and model; none where no method reads them, or the
    user names a folder that has some.
    """
    given = {word.partition("=")[0] for word in request.flags}
    if "--buffer_path" in given or not any(METHODS[name].experts for name in request.lists["METHODS"]):
        return []
    return [plan_expert(request, dataset, model) for dataset in request.lists["DATASETS"]
            for model in request.lists["MODELS"]]


def plan_expert(request: SweepRequest, dataset: str, model: str) -> Cell:
    data, path, label = place_data(dataset, request.data_path)
    flags = [*EXPERTS.split(), "--buffer_path", f"{request.out}/buffers", *flags_of_experts(request.flags),
             "--dataset", data, "--data_path", path, "--model", model]
    return Cell(f"buffers/{label}_{model}", EXPERTS_SCRIPT, tuple(flags))


def flags_of_experts(words: Sequence[str]) -> Iterator[str]:
    """Yield those of a sweep's flags, with their values, that say what images are and how they are computed with."""
    wanted = False
    for word in words:
        if word.startswith("--"):
            wanted = word.partition("=")[0] in FLAGS_OF_EXPERTS
        if wanted:
            yield word
