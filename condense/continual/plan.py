"""Which memories are compared: --methods and --compare as sources, and what is refused before any work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from condense.continual.methods import StepMethod, find_method, given_options, refuse_unused
from condense.continual.published import PUBLISHED, PublishedFiles
from condense.continual.sources import RandomImages, Scripted, Source
from condense.core.errors import OptionError
from condense.data.real import RealData
from condense.synthetic import PARAMETERIZATIONS

RANDOM = "random"


def methods_of(cfg: Any, registry: Mapping[str, StepMethod]) -> list[tuple[str, StepMethod | None]]:
    """Return [(name, `StepMethod` of `registry`; None for random)] of --methods; raises OptionError for misfits."""
    if not cfg.methods or len(set(cfg.methods)) < len(cfg.methods):
        raise OptionError("--methods names each method once, and at least one")
    rows = [(name, None if name == RANDOM else find_method(name, registry)) for name in cfg.methods]
    if cfg.compare != "bytes" and all(method and method.has_form for _, method in rows):
        raise OptionError(f"--compare {cfg.compare} counts real images; add {RANDOM} or herding to --methods, or "
                          "leave it out")
    refuse_unused(given_options(cfg), [method for _, method in rows if method], registry)
    if cfg.cl_data_path is not None:
        _refuse_unpublished(cfg)
    elif cfg.cl_space is not None:
        raise OptionError("--cl_space is the space of the pixels in --cl_data_path; give --cl_data_path as well, or "
                          "leave --cl_space out")
    return rows


def used_options(names: Iterable[str], registry: Mapping[str, StepMethod]) -> set[str]:
    """Return the names of the options that the methods `names` take, each as --methods has it."""
    methods = [find_method(name, registry) for name in names if name != RANDOM]
    return set().union(*(method.options() for method in methods))


def _refuse_unpublished(cfg):
    """Raise OptionError for what published files do not leave to choose."""
    forms = {name for kind in PARAMETERIZATIONS.values() for name in kind.OPTIONS}      # they say how dense files are
    for name in given_options(cfg).keys() - forms:
        raise OptionError(f"--{name} is for condensing, but --cl_data_path reads sets that are condensed already; "
                          "leave one of them out")
    for name in cfg.methods:
        if name != RANDOM and name not in PUBLISHED:
            raise OptionError(f"--cl_data_path: there are no published files of {name}, only of "
                              f"{', '.join(PUBLISHED)}; leave {name} out, or condense without --cl_data_path")


def sources_of(cfg: Any, rows: Sequence[tuple[str, StepMethod | None]], real: RealData, folder: Path) -> list[Source]:
    """Return the sources of the memories that are compared, in the order of --methods (`condense.continual.sources`).

    `rows` as `methods_of` returns them. Methods that choose real images come once for each number of images that
    --compare asks for. Raises ValueError where a budget holds no image.
    """
    given, sources = given_options(cfg), []
    classes = real.num_classes // cfg.steps
    dense = {name: method.images_per_class(real, cfg.ipc, given, classes) for name, method in rows if method}
    densest = max(dense.values(), default=cfg.ipc)
    numbers = {"bytes": (cfg.ipc,), "images": (densest,), "both": (cfg.ipc, densest)}[cfg.compare]
    for name, method in rows:
        if method and method.has_form:
            sources.append(_source(name, name, method, cfg, given, real, folder, dense[name]))
            continue
        for number in dict.fromkeys(numbers):
            label = name if number == cfg.ipc else f"{name}, {number} images"
            sources.append(_source(label, name, method, replace(cfg, ipc=number), given, real, folder, number))
    return sources


def _source(label, name, method, cfg, given, real, folder, number):
    if method is None:
        return RandomImages(label, real, number)
    if cfg.cl_data_path is None:
        return Scripted(label, method, cfg, given, real, folder, number)
    return PublishedFiles(label, name, cfg, real, number, bytes_per_class=4 * cfg.ipc * real.images[0].numel())
