"""Export a synthetic set as PNG files, plain tensors, safetensors or the reference's layout, with a card about it.

    python export.py result/res_DM_CIFAR10_ConvNet_10ipc.pt --format card safetensors
    python export.py images_best.pt --dataset CIFAR10 --from_space normalised --format folder --to distilled
    python export.py https://.../res_DSA_CIFAR10_ConvNet_10ipc.pt --format tensors --space raw

Our sets need no further options; for others, name the data set (--dataset, --data_path). Files are written next to
the set and named after it; for a set from the internet, into the current folder.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from condense import cli
from condense.cli import OptionError, option, redefault
from condense.cli.option import DATA, RUN, SET
from condense.core.files import file_sha256
from condense.core.journal import log_to_terminal
from condense.run import run_script
from condense.sharing.bundle import SetToExport
from condense.sharing.card_scores import load_scores
from condense.sharing.export import Choice
from condense.sharing.fetch import is_url, local_copy
from condense.sharing.formats import FORMATS, check_formats, plan
from condense.sharing.layouts import LAYOUTS, read_set
from condense.sharing.loading import chosen_set
from condense.sharing.real_data import data_of
from condense.sharing.spaces import SPACES, Spaces
from utils import load_data

log = logging.getLogger("condense")



@dataclass(frozen=True)
class Config(cli.SourceOptions, cli.CommandOptions):
    sets: tuple[str, ...] = option((), "one synthetic set: a file, folder or URL", group=SET, positional="SET")
    format: tuple[str, ...] = option((), "what to write, one or several: "
                                     + "; ".join(f"{name} ({each.about})" for name, each in FORMATS.items()),
                                     group=SET, choices=tuple(FORMATS))
    space: str | None = option(None, "space of the exported pixels; default: unchanged", group=SET, choices=SPACES)
    experiment: int = option(0, "which experiment, counted from 0", group=SET, ge=0)
    which: str = option("last", "the last iteration, or the one that the run chose", group=SET,
                        choices=("last", "best"))
    from_space: str | None = option(None, "space of the pixels, if the file does not say it", group=SET, choices=SPACES)
    decode: int | None = option(None, "tiles per side of an image of multi-formation (IDC)", group=SET,
                                ge=1)
    labels: str | None = option(None, "file of labels, if it is not in the folder of the images", group=SET)
    sha256: str | None = option(None, "checksum that the file must have", group=SET)

    dataset: str | None = option(None, "name of the data set, 'folder' or 'file'; default: as stored in the "
                                       "set", group=DATA)
    classes: str | None = redefault("classes", None)

    to: str | None = option(None, "file to write, or folder for several; default: in the folder of the set", group=RUN)
    scores: str | None = option(None, "scores.json of evaluate.py, for the card", group=RUN)
    picture: bool = option(True, "a small picture with the card", group=RUN)
    overwrite: bool = option(False, "replace what an earlier export wrote", group=RUN)


def check(cfg):
    """Raise ValueError for options that do not go together."""
    if len(cfg.sets) != 1:
        raise OptionError(f"export takes one set at a time, not {len(cfg.sets)}; name it first: python export.py SET "
                          "--format ...")
    for name, given in (("scores", cfg.scores), ("no-picture", not cfg.picture)):
        if given and "card" not in cfg.format:
            raise OptionError(f"--{name} belongs to --format card; leave it out")


def main(cfg):
    check(cfg)
    log_to_terminal()
    choice = Choice(cfg.experiment, cfg.which, cfg.space, cfg.overwrite,
                    tuple(load_scores(cfg.scores)) if cfg.scores else (), cfg.picture)
    check_formats(cfg.format, choice)
    address, = cfg.sets
    path = local_copy(address, cfg.sha256, cfg.progress)
    file = read_set(path, cfg.labels)
    to_export = SetToExport(file, Spaces(lambda zca: load(cfg, file, zca)), cfg.from_space, cfg.decode, cfg.dataset)
    log.info("%s: read as %s (%s); %s", path.name, LAYOUTS[file.layout].split(":")[0], file.known_by,
             to_export.found[1])
    if any(FORMATS[name].one_set for name in cfg.format):
        chosen_set(file, choice.experiment, choice.which)  # says what the file lacks before anything is written
    folder = Path() if is_url(address) else path.parent
    planned = plan(cfg.format, path, folder, cfg.to, choice)
    for name, target in planned.items():
        said = FORMATS[name].write(target, to_export, choice)
        log.info("%s: %s", target, "; ".join([size_of(target), *said]))
    return planned


def load(cfg, file, zca):
    """Return the real data that the set was made for."""
    return load_data(zca=zca, progress=cfg.progress, **data_of(file, cfg))


def size_of(path):
    """Word how large a file is, with its sha256, or a folder of files."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        return f"{len(files):,} files, {sum(file.stat().st_size for file in files):,} bytes"
    return f"{path.stat().st_size:,} bytes, sha256 {file_sha256(path)}"


if __name__ == "__main__":
    run_script(main, Config, __doc__)
