"""Train an embedder on labelled photos.

Each epoch: class centres → subspaces of look-alike landmarks → P×K batches → loss → validation by
GAP. Where the training photos are the database of the validation, its vectors also give the
subspaces of the next epoch; otherwise `centre_photos` of each landmark are embedded for them.

The same loop runs in one or several processes (`accelerate launch`, `torchrun`): each process loads
its share of every batch, and the loss is computed over the whole batch.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from ..core.errors import TrainingError
from ..core.figures import require_matplotlib
from ..core.hardware import keep_freed_memory
from ..core.types import Photos, require_table
from ..features.embedders.torch_embedder import TorchEmbedder
from .checkpoint import RunLog, RunState
from .config import TrainConfig
from .loader import Validation
from .model_card import write_model_card
from .trainer import Report, Trainer

SELECTION_METRIC = "gap_nearest_photo"


def train(
    photos: Photos,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    validation: Validation | None = None,
    report: Report | None = None,
) -> TorchEmbedder:
    """Train an embedder on labelled photos.

    Photos without a landmark take no part; unreadable ones are left out and listed in
    training/unreadable.json.

    Args:
        photos: The training photos: at least two landmarks of at least two photos.
        config: All settings; None = `TrainConfig()`, which learns from random weights on a laptop.
        out: Folder for the embedder, with `training/` inside: config.json, run.json, log.csv,
            curves.svg, tensorboard/ and last.pt, and the model card README.md beside the weights.
            The same call on the same folder resumes an interrupted run exactly. None = a temporary
            folder.
        validation: (database, queries), tables of landmarks that are not trained on; None = a share
            of each landmark's photos (`config.validation`) as queries against the rest.
        report: Called with (batches done, batches in all, message) during the run.

    Returns:
        The embedder of the epoch with the best validation GAP.

    Raises:
        DataError: With too few landmarks or photos, or when `out` holds another run.
        OptionError: When settings contradict each other, or a package is not installed.
        ModelError: When the backbone is unknown, or its weights do not fit.
        TrainingError: When the loss became NaN.
    """
    require_table(photos, "train(photos)")
    require_matplotlib("training, which draws its curves,")  # fail now, not after the last epoch
    config = config or TrainConfig()
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _run_training(Trainer(config, Path(folder), photos, validation, report))
    run = Trainer(config, Path(out), photos, validation, report)
    embedder = _run_training(run)
    if run.is_main:
        embedder.export(run.out)
    return embedder


def _run_training(run: Trainer) -> TorchEmbedder:
    keep_freed_memory()
    state, config = run.resume(), run.config
    with RunLog(run.folder, state.history, state.total, quiet=not run.is_main) as log:
        while state.epoch < config.epochs and not _should_stop(state, config.patience):
            _one_epoch(run, state, log)
    if run.is_main:
        write_model_card(run.out, config, run.facts(), state.history)
    run.wait()
    return TorchEmbedder.load(run.out, device=config.device)


def _one_epoch(run: Trainer, state: RunState, log: RunLog) -> None:
    started = time.monotonic()
    epochs, every = run.config.epochs, run.config.checkpoint_every * run.config.accumulate
    if not len(state.groups):  # the run had ended, and was made longer
        run.regroup(state, None)
    batches = run.data.batches(state)
    for step, pixels in enumerate(run.load(batches, state), state.step):
        loss, active = run.train_step(pixels, batches[step], state, len(batches))
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at batch {step + 1} of epoch {state.epoch + 1}: training "
                f"cannot continue; lower lr ({run.config.lr}), or use precision float32. The last "
                f"good checkpoint stays in {run.folder}; delete it to start with other settings"
            )
        state.losses.append(loss)
        state.active.append(active)
        state.step, state.total = step + 1, state.total + 1
        log.step(loss, active, pixels)
        if state.step % every == 0:
            run.save(state)
        run.position = (state.epoch * len(batches) + state.step, epochs * len(batches))
        run.report_progress(log.status)
    vectors = run.embed(run.data.train)[0] if run.validates_with_training_photos() else None
    row = {**run.validate(vectors), **run.summary(state)}
    if row[SELECTION_METRIC] > log.best(SELECTION_METRIC):
        run.save_embedder()
    log.epoch({**row, "seconds": time.monotonic() - started})
    run.regroup(state, vectors)
    state.next_epoch()
    run.save(state)


def _should_stop(state: RunState, patience: int) -> bool:
    """Early stopping: the last `patience` epochs did not improve the validation GAP."""
    gaps = [row[SELECTION_METRIC] for row in state.history]
    return bool(patience and gaps and len(gaps) - 1 - int(np.argmax(gaps)) >= patience)
