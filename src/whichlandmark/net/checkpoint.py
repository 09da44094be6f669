"""A training run's state on disk: written whole, read without pickle's powers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DataError
from ..files import whole_file


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


def save_checkpoint(
    path: Path, state: RunState, net: torch.nn.Module, optimizer: torch.optim.Optimizer,
    made_for: dict[str, Any],
) -> None:  # fmt: skip
    """Write everything that a resumed run needs. `made_for`: config and data hash."""
    record = {
        "made_for": made_for,
        "state": {**vars(state), "groups": torch.from_numpy(state.groups)},
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with whole_file(path) as temporary:
        torch.save(record, temporary)


def load_checkpoint(
    path: Path, net: torch.nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]
) -> RunState:
    """Put the weights and the optimizer back; returns the state.

    Raises DataError when the file is damaged or belongs to a run with another config or
    other photos, naming what differs.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
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
    net.load_state_dict(record["net"])
    optimizer.load_state_dict(record["optimizer"])
    return RunState(**{**record["state"], "groups": record["state"]["groups"].numpy()})
