"""The files of a run, all named after its result."""

from dataclasses import dataclass
from pathlib import Path

from condense.run.results import result_stem


@dataclass(frozen=True)
class RunFiles:
    """Where a run of `method` writes in `folder`: res_<method>_<dataset>_<model>_<ipc>ipc and what belongs to it."""

    folder: Path
    stem: str

    @classmethod
    def of(cls, folder: str | Path, method: str, dataset: str, model: str, ipc: int) -> "RunFiles":
        """Return the files of one cell in `folder`."""
        return cls(Path(folder), result_stem(method, dataset, model, ipc))

    @property
    def result(self) -> Path:
        """The result file."""
        return self.folder / f"{self.stem}.pt"

    @property
    def unfinished(self) -> Path:
        """The set so far of a run that was stopped."""
        return self.folder / f"{self.stem}_unfinished.pt"

    @property
    def checkpoint(self) -> Path:
        """What --resume goes on from."""
        return self.folder / f"{self.stem}.ckpt"

    @property
    def journal(self) -> Path:
        """JSON lines of losses, accuracies, versions and times."""
        return self.folder / f"{self.stem}.jsonl"

    def picture(self, exp: int, it: int) -> Path:
        """The picture of the set of experiment `exp` at iteration `it`."""
        return self.folder / f"{self.stem.replace('res_', 'vis_', 1)}_exp{exp}_iter{it}.png"
