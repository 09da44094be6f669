"""Save and restore a training run; write its log."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ..core.errors import DataError
from ..core.files import atomic_file, write_text
from ..core.json_options import to_json
from .config import TrainConfig


@dataclass
class RunState:
    """The progress of a run, saved in its checkpoint.

    It contains no state of random generators, because everything random is drawn from (seed,
    epoch, step). A run that resumes from a state repeats the original run exactly.
    """

    epoch: int = 0  # epochs finished
    step: int = 0  # batches finished in the current epoch
    total: int = 0  # batches finished in all epochs
    groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    # ^ (C,) group of look-alike landmarks that each landmark belongs to in this epoch
    unreadable: list[str] = field(default_factory=list)  # ids of photos that could not be read
    losses: list[float] = field(default_factory=list)  # of the current epoch
    active: list[float] = field(default_factory=list)  # share of anchors ranked wrong, by batch
    history: list[dict[str, float]] = field(default_factory=list)  # one row per finished epoch

    def next_epoch(self) -> None:
        """Go to the first batch of the next epoch."""
        self.epoch, self.step, self.losses, self.active = self.epoch + 1, 0, [], []


Stateful = Any  # has state_dict() and load_state_dict(): a module, optimizer or gradient scaler


def save_checkpoint(
    path: Path, state: RunState, parts: Mapping[str, Stateful], identity: Mapping[str, Any]
) -> None:
    """Write a checkpoint, atomically.

    identity: config and data hash, which must be the same on resuming. Raises DataError when the
    disk is full; the previous checkpoint is kept then.
    """
    record = {
        "made_for": dict(identity),
        "state": {**vars(state), "groups": torch.from_numpy(state.groups)},
        "parts": {name: part.state_dict() for name, part in parts.items()},
    }
    with atomic_file(path) as temporary:
        try:
            torch.save(record, temporary)
        except RuntimeError as error:  # torch's message does not name the reason
            raise DataError(
                f"{path}: cannot be written (is the disk full? {str(error).splitlines()[0]}); the "
                "last checkpoint is untouched: make room, then give the same command again"
            ) from None


def load_checkpoint(
    path: Path, parts: Mapping[str, Stateful], identity: Mapping[str, Any]
) -> RunState:
    """Restore the state of every part; returns the state of the run.

    Raises DataError when the file is damaged, or belongs to a run with another config or other
    photos; the message names the difference. The number of epochs may differ, down to those that
    are finished.
    """
    record = _read(path, identity)
    for name, part in parts.items():
        part.load_state_dict(record["parts"][name])
    return RunState(**{**record["state"], "groups": record["state"]["groups"].numpy()})


def read_unreadable(path: Path, identity: Mapping[str, Any]) -> list[str]:
    """Ids of unreadable photos, needed to build the parts before their state can be loaded.

    Raises as `load_checkpoint` does.
    """
    unreadable: list[str] = _read(path, identity)["state"]["unreadable"]
    return unreadable


def _read(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = record["made_for"]
    except Exception as error:  # torch raises many kinds of error on a damaged file
        raise DataError(
            f"{path}: damaged checkpoint ({error}); delete it to start the run again"
        ) from None
    done, wanted = len(record["state"]["history"]), identity.get("epochs")
    if wanted is not None and wanted < done:
        raise DataError(
            f"{path.parent}: this run has finished {done} epochs, more than the {wanted} given; "
            f"give {done} or more, or train into a new folder"
        )
    # A setting that a later version added had its default before.
    stored = {**to_json(TrainConfig()), **stored, "epochs": wanted}
    if differing := [key for key in identity if stored.get(key) != identity[key]]:
        changes = "; ".join(f"{k}: {stored.get(k)!r} → {identity[k]!r}" for k in differing[:4])
        raise DataError(
            f"{path.parent}: holds a run with other settings ({changes}); train into a new "
            "folder, or delete this one to start again"
        )
    return record


class RunLog:
    """TensorBoard and log.csv of one run.

    history: one row per finished epoch, shared with the checkpoint so that a resumed run has the
    whole log. steps: batches finished so far. quiet: update the history, but write nothing; for
    all processes except the main one.
    """

    def __init__(
        self, folder: Path, history: list[dict[str, float]], steps: int, *, quiet: bool = False
    ) -> None:
        self.folder, self.history, self.steps = folder, history, steps
        self.status = ""
        # Purge steps that a killed run logged after its last checkpoint; they are repeated.
        self.writer = (
            None if quiet else SummaryWriter(str(folder / "tensorboard"), purge_step=steps or None)
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer:
            self.writer.close()

    def best(self, name: str) -> float:
        """The highest value of a column so far; −1 before the first epoch ends."""
        return max((row[name] for row in self.history), default=-1.0)

    def step(self, loss: float, active: float, pixels: Tensor) -> None:
        """Log one batch: loss, share of anchors ranked wrong; every 500 steps its photos."""
        if self.writer:
            self.writer.add_scalar("train/loss", loss, self.steps)
            self.writer.add_scalar("train/anchors_ranked_wrong", active, self.steps)
            if self.steps % 500 == 0:
                from torchvision.utils import make_grid

                grid: Tensor = make_grid(pixels[:24], nrow=8, normalize=True)  # values 0 to 1
                half = torch.nn.functional.interpolate(grid[None], scale_factor=0.5)[0]
                self.writer.add_image("train/batch", half, self.steps)
        self.steps += 1
        gap = f", GAP {self.history[-1]['gap_nearest_photo']:.3f}" if self.history else ""
        self.status = f"epoch {len(self.history) + 1}, loss {loss:.3f}{gap}"

    def epoch(self, row: dict[str, float]) -> None:
        """Append a finished epoch to the history and rewrite log.csv."""
        self.history.append({"epoch": len(self.history) + 1, **row})
        if self.writer is None:
            return
        for name, value in row.items():
            self.writer.add_scalar(f"epoch/{name}", value, len(self.history))
        self.writer.flush()
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.history[0]))
        table.writeheader()
        table.writerows(self.history)
        write_text(self.folder / "log.csv", text.getvalue())
