"""Save and restore a run; its log."""

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
from ..core.files import whole_file, write_text


@dataclass
class RunState:
    """Where a run stands. Everything random is drawn from (seed, epoch, step), so no
    generator state is kept: equal states go on equally.
    """

    epoch: int = 0  # epochs finished
    step: int = 0  # batches finished in the current epoch
    total: int = 0  # batches finished in all epochs
    groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    # ^ (C,) subspace of each landmark in this epoch
    unreadable: list[str] = field(default_factory=list)  # ids left out of the run
    losses: list[float] = field(default_factory=list)  # of the current epoch
    active: list[float] = field(default_factory=list)  # share of anchors ranked wrong, likewise
    history: list[dict[str, float]] = field(default_factory=list)  # one row per finished epoch

    def next_epoch(self) -> None:
        """Begin the next epoch at its first batch."""
        self.epoch, self.step, self.losses, self.active = self.epoch + 1, 0, [], []


Part = Any  # with state_dict() and load_state_dict(): a module, an optimizer, a gradient scaler


def save_checkpoint(
    path: Path, state: RunState, parts: Mapping[str, Part], made_for: Mapping[str, Any]
) -> None:
    """Write everything that a resumed run needs. `made_for`: config and data hash.

    Raises DataError when the disk is full; the checkpoint that stands there stays whole.
    """
    record = {
        "made_for": dict(made_for),
        "state": {**vars(state), "groups": torch.from_numpy(state.groups)},
        "parts": {name: part.state_dict() for name, part in parts.items()},
    }
    with whole_file(path) as temporary:
        try:
            torch.save(record, temporary)
        except RuntimeError as error:  # torch's own writer: it says no more than that it failed
            raise DataError(
                f"{path}: cannot be written (is the disk full? {str(error).splitlines()[0]}); the "
                "last checkpoint is untouched: make room, then give the same command again"
            ) from None


def load_checkpoint(path: Path, parts: Mapping[str, Part], made_for: Mapping[str, Any]) -> RunState:
    """Put every part's state back; returns where the run stands.

    Raises DataError when the file is damaged or belongs to a run with another config or
    other photos, naming what differs.
    """
    record = _read(path, made_for)
    for name, part in parts.items():
        part.load_state_dict(record["parts"][name])
    return RunState(**{**record["state"], "groups": record["state"]["groups"].numpy()})


def read_unreadable(path: Path, made_for: Mapping[str, Any]) -> list[str]:
    """Ids that the run left out: its tables, and so its parts, depend on them. Raises as above."""
    unreadable: list[str] = _read(path, made_for)["state"]["unreadable"]
    return unreadable


def _read(path: Path, made_for: Mapping[str, Any]) -> dict[str, Any]:
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = record["made_for"]
    except Exception as error:  # any damage ends here; torch raises many kinds
        raise DataError(
            f"{path}: damaged checkpoint ({error}); delete it to start the run again"
        ) from None
    if differing := [key for key in made_for if stored.get(key) != made_for[key]]:
        changes = "; ".join(f"{k}: {stored.get(k)!r} → {made_for[k]!r}" for k in differing[:4])
        raise DataError(
            f"{path.parent}: holds a run with other settings ({changes}); train into a new "
            "folder, or delete this one to start again"
        )
    return record


class RunLog:
    """Logs of one run; `history` is shared with its checkpoint, so a resumed log is whole.

    quiet: keep the history, write nothing (all processes but the first).
    """

    def __init__(
        self, folder: Path, history: list[dict[str, float]], steps: int, *, quiet: bool = False
    ) -> None:
        self.folder, self.history, self.steps = folder, history, steps
        self.status = ""
        # Steps that a killed run had logged beyond its checkpoint are logged again.
        self.board = (
            None if quiet else SummaryWriter(str(folder / "tensorboard"), purge_step=steps or None)
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self.board:
            self.board.close()

    def best(self, name: str) -> float:
        """Highest value so far, −1 before the first epoch."""
        return max((row[name] for row in self.history), default=-1.0)

    def step(self, loss: float, active: float, pixels: Tensor) -> None:
        """Loss, and share of anchors ranked wrong, of one batch; now and then its pictures."""
        if self.board:
            self.board.add_scalar("train/loss", loss, self.steps)
            self.board.add_scalar("train/anchors_ranked_wrong", active, self.steps)
            if self.steps % 500 == 0:
                self.board.add_image("train/batch", _grid(pixels[:24]), self.steps)
        self.steps += 1
        past = f", GAP {self.history[-1]['gap_nearest_photo']:.3f}" if self.history else ""
        self.status = f"epoch {len(self.history) + 1}, loss {loss:.3f}{past}"

    def epoch(self, row: dict[str, float]) -> None:
        """Append one finished epoch to the history and write log.csv anew, whole."""
        self.history.append({"epoch": float(len(self.history) + 1), **row})
        if self.board is None:
            return
        for name, value in row.items():
            self.board.add_scalar(f"epoch/{name}", value, len(self.history))
        self.board.flush()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.history[0]))
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.folder / "log.csv", text.getvalue())


def _grid(pixels: Tensor) -> Tensor:
    """(n, 3, h, w) normalised → one (3, H, W) picture, stretched to 0–1."""
    from torchvision.utils import make_grid

    grid: Tensor = make_grid(pixels, nrow=8, normalize=True)
    return torch.nn.functional.interpolate(grid[None], scale_factor=0.5)[0]
