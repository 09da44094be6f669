"""Train an embedder on labelled photos: one loop, read top to bottom.

Each epoch: embed all photos → class centres → subspaces of look-alike landmarks → P×K
batches → batch-hard triplets → validate by GAP. The embedding that validates one epoch
regroups the next, so the subspaces always come from the network being trained.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .embedding import embed
from .errors import DataError
from .files import write_json
from .metrics import gap
from .net.augment import Augmentation
from .net.batches import class_centres, epoch_batches, subspaces
from .net.checkpoint import RunState, load_checkpoint, save_checkpoint
from .net.embedder import NetEmbedder, pick_device
from .net.loader import AugmentedPhotos, batch_loader, epoch_keys
from .net.log import RunLog
from .net.losses import batch_hard, hardest_gaps
from .options import to_json
from .search import nearest
from .train_config import TrainConfig, new_arcface, new_embedder, new_optimizer, schedule
from .types import Photos, Vectors

Report = Callable[[int, int, str], None]  # (batches done, batches in all, what to say)


def train(
    photos: Photos,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    report: Report | None = None,
) -> NetEmbedder:
    """Train, and return the embedder of the epoch with the best validation GAP.

    out: folder for the embedder, with `training/` inside: log.csv, config.json,
      tensorboard/ and last.pt. The same call on the same folder resumes an interrupted run
      exactly. None = a temporary folder.
    Photos without a landmark take no part; unreadable ones are left out and listed in
    training/unreadable.json.
    Raises DataError with fewer than two landmarks of two photos, or when `out` holds
    another run; OptionError or ModelError for a config that cannot work.
    """
    config = config or TrainConfig()
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(photos, config, out=folder, report=report)
    run = _Run(config, Path(out), photos)
    state = run.resume()
    with RunLog(run.folder, state.history, state.total) as log:
        while state.epoch < config.epochs:
            started = time.monotonic()
            batches = epoch_batches(
                run.codes, state.groups, landmarks=config.landmarks_per_batch,
                photos=config.photos_per_landmark, seed=(config.seed, state.epoch),
            )  # fmt: skip
            for step, pixels in enumerate(run.load(batches, state), state.step):
                loss, active = run.learn(pixels, batches[step], state, len(batches))
                state.losses.append(loss)
                state.active.append(active)
                state.step, state.total = step + 1, state.total + 1
                log.step(loss, active, pixels)
                if state.step % (config.checkpoint_every * config.accumulate) == 0:
                    run.save(state)
                if report:
                    report(state.epoch * len(batches) + state.step,
                           config.epochs * len(batches), log.status)  # fmt: skip
            vectors = run.embed(run.train)
            row = {
                **run.validate(vectors),
                **_summary(state),
                "gem_p": float(run.net.pool.p.detach()),
            }
            if row["gap_nearest_photo"] > log.best("gap_nearest_photo"):
                NetEmbedder(run.net, run.preprocessing, device=config.device).save(run.out)
            log.epoch({**row, "seconds": time.monotonic() - started})
            state.groups = run.regroup(vectors)
            state.next_epoch()
            run.save(state)
    return NetEmbedder.load(run.out, device=config.device)


class _Run:
    """The parts of one run: tables, network, optimizer. What changes is in `RunState`."""

    def __init__(self, config: TrainConfig, out: Path, photos: Photos) -> None:
        self.config, self.out, self.folder = config, out, out / "training"
        self.photos = _labelled(photos)
        self.device = pick_device(config.device)
        self.embedder = new_embedder(config)
        self.preprocessing = self.embedder.preprocessing
        self.net = self.embedder.net.to(self.device)
        self.arcface = new_arcface(config, len(set(self.photos.landmarks))).to(self.device)
        # One module holds everything that is trained, for the optimizer and the checkpoint.
        self.trained = nn.ModuleDict({"net": self.net, "arcface": self.arcface})
        self.optimizer = new_optimizer(self.trained, config)
        results = {k: v for k, v in to_json(config).items() if k not in ("workers", "device")}
        self.made_for = {**results, "photos": _table_hash(self.photos)}

    def resume(self) -> RunState:
        """Go on from the checkpoint; or begin: find unreadable photos, make the first groups."""
        path = self.folder / "last.pt"
        if path.exists():
            state = load_checkpoint(path, self.trained, self.optimizer, self.made_for)
            self._split(state.unreadable)
            return state
        write_json(self.folder / "config.json", to_json(self.config))
        failures = [f for part in embed(self.embedder, self.photos) for f in part.failures]
        write_json(self.folder / "unreadable.json", {f.id: f.reason for f in failures})
        state = RunState(unreadable=[f.id for f in failures])
        self._split(state.unreadable)
        state.groups = self.regroup(self.embed(self.train))
        self.save(state)
        return state

    def _split(self, unreadable: list[str]) -> None:
        usable = self.photos.take(~np.isin(self.photos.ids, unreadable))
        self.train, self.validation = usable.split(
            test=self.config.validation, seed=self.config.seed
        )
        self.names, codes = np.unique(self.train.landmarks, return_inverse=True)
        self.codes = codes.astype(np.int64)

    def load(self, batches: list[NDArray[np.int64]], state: RunState) -> Iterable[Tensor]:
        """Augmented pixels of the batches that this epoch still has to see."""
        config = self.config
        keys = epoch_keys(batches, seed=(config.seed, state.epoch))[state.step :]
        augmentation = Augmentation(self.preprocessing, config.crop, config.least_area)
        dataset = AugmentedPhotos(self.train, augmentation, config.crop)
        self.net.train()
        return batch_loader(dataset, keys, config.workers)

    def learn(
        self, pixels: Tensor, rows: NDArray[np.int64], state: RunState, steps: int
    ) -> tuple[float, float]:
        """One batch: gradients, and every `accumulate` batches a step of the optimizer.

        Returns the loss and the share of anchors that the batch ranks wrong.
        """
        config = self.config
        torch.manual_seed(_mixed(config.seed, state.epoch, state.step))  # for dropout, if any
        labels = torch.from_numpy(self.codes[rows]).to(self.device)
        pixels = pixels.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        embeddings = self.net(pixels)
        loss = self._loss(embeddings, labels)
        (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
        if (state.step + 1) % config.accumulate == 0 or state.step + 1 == steps:
            done = (state.epoch + state.step / steps) / config.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = config.lr * schedule(done, config.warmup)
            self.optimizer.step()
            self.optimizer.zero_grad()
        with torch.no_grad():
            wrong = (hardest_gaps(embeddings, labels) > 0).float().mean()
        return float(loss.detach()), float(wrong)

    def _loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """From random weights the hardest negatives teach little: ArcFace shows the way first."""
        loss = embeddings.new_zeros(())
        if self.config.loss != "arcface":
            loss = loss + batch_hard(embeddings, labels)
        if self.config.loss != "triplet":
            loss = loss + self.arcface(embeddings, labels)
        return loss

    def embed(self, photos: Photos) -> Vectors:
        """All vectors of a table whose photos are readable: (N, dim)."""
        vectors = np.zeros((len(photos), self.net.dim), dtype=np.float32)
        for part in embed(self.embedder, photos):
            vectors[part.rows] = part.vectors
        return vectors

    def regroup(self, vectors: Vectors) -> NDArray[np.int64]:
        """Subspaces of look-alike landmarks from the vectors of the train photos."""
        return subspaces(
            class_centres(vectors, self.codes, len(self.names)), self.config.subspaces,
            seed=self.config.seed, smallest=self.config.landmarks_per_batch,
        )  # fmt: skip

    def validate(self, vectors: Vectors) -> dict[str, float]:
        """GAP and top-1 of the validation photos, by nearest photo and by nearest class centre.

        All validation photos show a landmark of the train photos: no non-landmarks here.
        """
        queries = self.embed(self.validation)
        centres = class_centres(vectors, self.codes, len(self.names))
        scores = {}
        for name, gallery, codes in (
            ("nearest_photo", vectors, self.codes),
            ("class_centre", centres, np.arange(len(centres))),
        ):
            found = nearest(queries, gallery, 1)
            right = self.names[codes[found.rows[:, 0]]] == self.validation.landmarks
            similarity = found.similarity[:, 0].astype(np.float64)
            scores[f"gap_{name}"] = gap(similarity, right, len(queries))
            scores[f"top1_{name}"] = float(right.mean())
        return scores

    def save(self, state: RunState) -> None:
        """Write the checkpoint that `resume` reads."""
        save_checkpoint(self.folder / "last.pt", state, self.trained, self.optimizer, self.made_for)


def _labelled(photos: Photos) -> Photos:
    labelled = photos.take(photos.landmarks != "")
    sizes = [len(rows) for rows in labelled.rows_by_landmark().values()]
    enough = sum(size > 1 for size in sizes)
    if enough < 2:
        raise DataError(
            f"{len(sizes)} landmarks given, {enough} of them with two photos or more; "
            "training needs at least two such landmarks"
        )
    return labelled


def _mixed(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _summary(state: RunState) -> dict[str, float]:
    return {
        "loss": float(np.mean(state.losses)), "active": float(np.mean(state.active)),
        "subspaces": float(len(np.unique(state.groups))),
    }  # fmt: skip


def _table_hash(photos: Photos) -> str:
    digest = hashlib.sha256()
    for photo_id, landmark in zip(photos.ids, photos.landmarks, strict=True):
        digest.update(f"{photo_id}\0{landmark}\n".encode())
    return digest.hexdigest()[:16]
