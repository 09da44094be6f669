"""The parts of one training run: tables, network, optimizer. What changes is in `RunState`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import OptionError
from ..core.files import write_json
from ..core.json_options import to_json
from ..core.types import Photos, Rows, Vectors
from ..features.embedders.torch_embedder import TorchEmbedder, pick_device
from ..features.embedders.torch_network import EmbeddingNet, Pooling
from ..features.pipeline import embed
from ..gallery.index.exact import nearest
from ..metrics.ranking import gap
from .build import new_accelerator, new_criterion, new_embedder, optimizer_of
from .checkpoint import RunState, load_checkpoint, read_unreadable, save_checkpoint
from .config import FREE, TrainConfig
from .distributed import (
    average_gradients,
    gather_rows,
    same_everywhere,
    share_batch_norms,
    world_size,
)
from .gradient_cache import cached_backward
from .loader import TrainingData, Validation, crop_side, labelled_photos, table_hash
from .losses import hardest_gaps
from .optimizer import freeze, new_average, schedule, set_lr, train_mode
from .samplers import class_centres, subspaces

Report = Callable[[int, int, str], None]  # (batches done, batches in all, what to say)


class Trainer:
    """Everything a training loop asks for; see `training.train` for the arguments."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        photos: Photos,
        validation: Validation | None,
        report: Report | None = None,
    ) -> None:
        self.config, self.out, self.folder = config, out, out / "training"
        self.photos, self.asked = labelled_photos(photos), validation
        self.device = pick_device(config.device)
        self.accelerator = new_accelerator(config, self.device)
        self.processes, self.rank = world_size(), self.accelerator.process_index
        if self.processes > 1:
            self.device = self.accelerator.device  # each has its own GPU
        self.leads = self.accelerator.is_main_process
        self.report = report if self.leads else None
        self.position = (0, 1)  # batches done, in all
        self._check_processes()
        embedder = new_embedder(config)
        self.preprocessing = embedder.preprocessing
        self.net = embedder.net.to(self.device)
        freeze(self.net.backbone, config.frozen_stages)
        self.ema = new_average(self.net, config.ema) if config.ema else None
        results = {k: v for k, v in to_json(config).items() if k not in FREE}
        self.made_for = {**results, "photos": table_hash(self.photos, *(validation or ()))}

    def _check_processes(self) -> None:
        batch = self.config.landmarks_per_batch * self.config.photos_per_landmark
        if batch % self.processes:
            raise OptionError(
                f"a batch of {batch} photos given to {self.processes} processes; expected "
                "landmarks_per_batch × photos_per_landmark to be a multiple of them"
            )
        if self.config.chunk and self.config.precision == "fp16":
            raise OptionError("chunk with precision fp16 given; use bf16 or float32 with it")

    def _begin(self, unreadable: list[str]) -> None:
        """Tables, loss and optimizer, once it is known which photos can be read."""
        self.data = TrainingData(self.photos, self.asked, unreadable, self.config)
        with self.accelerator.main_process_first():
            self.data.prepare()
        self._wrap()

    def _wrap(self) -> None:
        """Make the network and the loss ready for several processes and mixed precision."""
        config = self.config
        self.criterion = new_criterion(config, self.net.dim, self.data.codes).to(self.device)
        self.optimizer = optimizer_of(self.net, self.criterion, config)
        wrapped = share_batch_norms(self.net)
        if config.compile:
            wrapped = torch.compile(wrapped)  # type: ignore[assignment]
        self.wrapped = self.accelerator.prepare_model(wrapped, device_placement=False)
        self.pooling = Pooling(self.net)
        self.wrapped_criterion: nn.Module = self.criterion
        if self.processes > 1 and any(True for _ in self.criterion.parameters()):
            self.wrapped_criterion = nn.parallel.DistributedDataParallel(self.criterion)
        self.stepper = self.accelerator.prepare_optimizer(self.optimizer, device_placement=False)
        self.parts: dict[str, Any] = {
            "net": self.net, "criterion": self.criterion, "optimizer": self.optimizer,
        }  # fmt: skip
        if self.ema:
            self.parts["ema"] = self.ema
        if self.accelerator.scaler is not None:
            self.parts["scaler"] = self.accelerator.scaler

    def resume(self) -> RunState:
        """Go on from the checkpoint; or begin: find unreadable photos, make the first groups."""
        path = self.folder / "last.pt"
        if path.exists():
            self._begin(read_unreadable(path, self.made_for))
            return load_checkpoint(path, self.parts, self.made_for)
        vectors, failures = self.embed(self.photos)
        if self.leads:
            write_json(self.folder / "config.json", to_json(self.config))
            write_json(self.folder / "unreadable.json", failures)
        state = RunState(unreadable=list(failures))
        self._begin(state.unreadable)
        self.regroup(state, vectors[np.isin(self.photos.ids, self.data.train.ids)])
        self.save(state)
        return state

    def load(self, batches: list[Rows], state: RunState) -> Iterable[Tensor]:
        """Augmented pixels of this process's share of the batches that are still to be seen."""
        train_mode(self.net)
        train_mode(self.net.backbone, frozen_statistics=self.config.frozen_norms)
        return self.data.load(batches, state, self.preprocessing, self._share)

    def _share(self, count: int) -> slice:
        """This process's part of a batch: processes follow one another, as they are gathered."""
        each = count // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)

    def learn(self, pixels: Tensor, rows: Rows, state: RunState, steps: int) -> tuple[float, float]:
        """One batch: gradients, and every `accumulate` batches a step of the optimizer.

        pixels: this process's share (b, 3, h, w); rows: of the whole batch.
        Returns the loss and the share of anchors that the batch ranks wrong.
        """
        config = self.config
        torch.manual_seed(_mixed(config.seed, state.epoch, state.step))  # for dropout, if any
        labels = torch.from_numpy(self.data.codes[rows]).to(self.device)
        pixels = pixels.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        last = (state.step + 1) % config.accumulate == 0 or state.step + 1 == steps
        if config.chunk:
            loss, embeddings = self._cached(pixels, labels)
        else:
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss, embeddings = self._backward(pixels, labels)
        if last and bool(torch.isfinite(loss)):
            self._step((state.epoch + state.step / steps) / config.epochs)
        with torch.no_grad():
            gaps = hardest_gaps(embeddings, labels)
        wrong = int((gaps > 0).sum()) / max(1, len(gaps))
        return float(loss), wrong

    def _backward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of one batch → its loss and the gathered embeddings, both without graph."""
        embeddings = gather_rows(self.wrapped(pixels).float())
        loss = self.wrapped_criterion(embeddings, labels)
        self.accelerator.backward(loss / self.config.accumulate)
        return loss.detach(), embeddings.detach()

    def _cached(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The same with `chunk` photos in memory at once; the head sees the whole batch."""
        seen: list[Tensor] = []

        def loss_of(pooled: Tensor) -> Tensor:
            seen.append(gather_rows(self.net.embedded(pooled).float()))
            return self.wrapped_criterion(seen[-1], labels) / self.config.accumulate  # type: ignore[no-any-return]

        # Of equal sizes: a BatchNorm cannot take its statistics from one photo that is left over.
        chunks = torch.tensor_split(pixels, -(-len(pixels) // self.config.chunk))
        with self.accelerator.autocast():
            loss, _ = cached_backward(self.pooling, chunks, loss_of)
        return loss * self.config.accumulate, seen[-1].detach()

    def _step(self, done: float) -> None:
        """One step of the optimizer, `done` (0 to 1) of the run being behind it."""
        config = self.config
        if config.chunk:
            average_gradients(self.net)
        set_lr(self.optimizer, config.lr * schedule(done, config.warmup))
        self.stepper.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.net)

    def embed(self, photos: Photos) -> tuple[Vectors, dict[str, str]]:
        """Vectors (N, dim) by the network that will be kept; and id → reason of what failed.

        Each process embeds its share; an unreadable photo's row is zeros.
        """
        vectors = np.zeros((len(photos), self.net.dim), dtype=np.float32)
        failures: dict[str, str] = {}
        rows = np.arange(self.rank, len(photos), self.processes)
        for part in embed(self._kept(), photos.take(rows), progress=self._embedded):
            vectors[rows[part.rows]] = part.vectors
            failures |= {failure.id: failure.reason for failure in part.failures}
        if self.processes == 1:
            return vectors, failures
        whole = same_everywhere(torch.from_numpy(vectors).to(self.device)).cpu().numpy()
        found = accelerate.utils.gather_object([failures])
        return whole, {k: v for part in found for k, v in sorted(part.items())}

    def tell(self, text: str) -> None:
        """Report where the run stands."""
        if self.report:
            self.report(*self.position, text)

    def _embedded(self, done: int, photos: int) -> None:
        self.tell(f"embedding {done * self.processes:,} of {photos * self.processes:,} photos")

    def _kept(self) -> TorchEmbedder:
        """The embedder as it would be saved now: the moving average where there is one.

        Made anew each time: an embedder's id is that of its weights when it was first asked.
        """
        net = self.net if self.ema is None else self.ema.module
        assert isinstance(net, EmbeddingNet)
        return TorchEmbedder(net, self.preprocessing, device=str(self.device))

    def regroup(self, state: RunState, vectors: Vectors) -> None:
        """Subspaces of look-alike landmarks for the next epoch, from the train photos' vectors."""
        config = self.config
        if config.batches != "subspaces":
            state.groups = np.zeros(self.data.landmarks, dtype=np.int64)
        elif not len(state.groups) or (
            config.regroup_every and (state.epoch + 1) % config.regroup_every == 0
        ):
            state.groups = subspaces(
                class_centres(vectors, self.data.codes, self.data.landmarks),
                config.subspaces,
                seed=config.seed,
                smallest=config.landmarks_per_batch,
            )

    def validate(self, trained: Vectors) -> dict[str, float]:
        """GAP and top-1 of the validation queries; trained: vectors of the train photos."""
        return validate(self.data, trained, self.embed)

    def summary(self, state: RunState) -> dict[str, float]:
        """What an epoch was like: mean loss, anchors ranked wrong, groups, crop, GeM's p."""
        return {
            "loss": float(np.mean(state.losses)),
            "active": float(np.mean(state.active)),
            "subspaces": float(len(np.unique(state.groups))),
            "crop": float(crop_side(self.config, state.epoch)),
            "gem_p": float(self.net.pool.p.detach()),
        }

    def facts(self) -> dict[str, Any]:
        """What the run was made of, for its card."""
        data, packages = self.data, ("whichlandmark", "torch", "torchvision", "timm", "accelerate")
        trained = "not trained on" if self.asked else "also trained on, in other photos"
        return {
            "photos": f"{len(data.train)} of {data.landmarks} landmarks (table hash "
            f"{self.made_for['photos']})",
            "validation": f"{len(data.queries)} queries against {len(data.database)} database "
            f"photos of {len(set(data.database.landmarks))} landmarks that are {trained}",
            "device": f"{self.device}, {self.processes} process(es)",
            "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        }

    def save(self, state: RunState) -> None:
        """Write the checkpoint that `resume` reads."""
        if self.leads:
            save_checkpoint(self.folder / "last.pt", state, self.parts, self.made_for)

    def save_embedder(self) -> None:
        """Write the embedder as it is now into the run's folder, without its ONNX file."""
        if self.leads:
            self._kept().save(self.out, export=False)

    def wait(self) -> None:
        """Until all processes are here: what the first one wrote can be read."""
        self.accelerator.wait_for_everyone()


def _mixed(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


Embed = Callable[[Photos], tuple[Vectors, dict[str, str]]]  # vectors; id → reason of a failure


def validate(data: TrainingData, trained: Vectors, embed: Embed) -> dict[str, float]:
    """gap_… and top1_… of the validation queries against their database, 0 to 1.

    trained: vectors of the train photos, which need not be embedded again where they are the
    database. Unreadable photos take no part. M = queries whose landmark the database has; every
    guess for another one, or for a photo without a landmark, takes a rank and is wrong, as in
    `evaluation`. Raises DataError when there is no query of the first kind.
    """
    vectors, database = trained, data.database
    if database is not data.train:
        vectors, database = _readable(database, embed)
    asked, queries = _readable(data.queries, embed)
    names, codes = np.unique(database.landmarks, return_inverse=True)
    centres = class_centres(vectors, codes.astype(np.int64), len(names))
    known = np.isin(queries.landmarks, names)
    scores = {}
    for name, gallery, of in (
        ("nearest_photo", vectors, codes),
        ("class_centre", centres, np.arange(len(names))),
    ):
        found = nearest(asked, gallery, 1)
        right = names[of[found.rows[:, 0]]] == queries.landmarks
        similarity = found.similarity[:, 0].astype(np.float64)
        scores[f"gap_{name}"] = gap(similarity, right, int(known.sum()))
        scores[f"top1_{name}"] = float(right[known].mean())
    return scores


def _readable(photos: Photos, embed: Embed) -> tuple[Vectors, Photos]:
    vectors, failures = embed(photos)
    kept = ~np.isin(photos.ids, list(failures))
    return vectors[kept], photos.take(kept)
