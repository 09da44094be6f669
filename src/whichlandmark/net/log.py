"""What a run tells: log.csv (one row an epoch) and TensorBoard (loss, GAP, pictures)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ..files import write_text


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
