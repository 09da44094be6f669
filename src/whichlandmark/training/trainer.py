"""One training run: its data, network, loss and optimizer, and the steps of the loop.

The changing state is in `RunState`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import DataError, OptionError
from ..core.files import write_json
from ..core.json_options import to_json
from ..core.types import Photos, Rows, Vectors, one_landmark_each
from ..features.embedders.torch_embedder import TorchEmbedder, pick_device
from ..features.embedders.torch_network import EmbeddingNet, Pooling
from ..features.pipeline import embed
from .build import (
    has_new_head,
    licence_of_start,
    new_accelerator,
    new_criterion,
    new_embedder,
    optimizer_of,
    start_of,
)
from .checkpoint import RunState, load_checkpoint, read_unreadable, save_checkpoint
from .config import FIELDS_WITHOUT_EFFECT, TrainConfig, settled, start_folder
from .distributed import (
    average_gradients,
    gather_rows,
    share_batch_norms,
    sum_over_processes,
    world_size,
)
from .gradient_cache import cached_backward
from .head import PooledNet, centre_arcface, whiten_head
from .loader import (
    TrainingData,
    Validation,
    crop_side,
    labelled_photos,
    require_validation,
    table_hash,
    validate,
)
from .losses import hardest_gaps
from .optimizer import freeze, new_average, schedule, set_lr, train_mode
from .samplers import class_centres, photos_of_each, subspaces

Report = Callable[[int, int, str], None]  # (batches done, batches in all, message)


class Trainer:
    """The steps of the training loop; see `train.train` for the arguments."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        photos: Photos,
        validation: Validation | None,
        report: Report | None = None,
    ) -> None:
        self.config, self.out, self.folder = settled(config), out, out / "training"
        self.photos, self.validation = labelled_photos(photos), validation
        if validation:
            self.validation = validation = one_landmark_each(validation[0]), validation[1]
            require_validation(validation)
        self.device = pick_device(config.device)
        self.accelerator = new_accelerator(config, self.device)
        self.processes, self.rank = world_size(), self.accelerator.process_index
        if self.processes > 1:
            self.device = self.accelerator.device  # each has its own GPU
        self.is_main = self.accelerator.is_main_process
        self.report = report if self.is_main else None
        self.position = (0, 1)  # (batches done, batches in all)
        self._check_options()
        embedder = new_embedder(self.config)
        self.preprocessing, self.views = embedder.preprocessing, embedder.views
        self.config = replace(self.config, mean=self.preprocessing.mean, std=self.preprocessing.std)
        self.net = embedder.net.to(self.device)
        freeze(self.net.backbone, config.frozen_stages)
        self.ema = new_average(self.net, config.ema) if config.ema else None
        self.start = start_of(self.config)
        self.whitens = config.head == "whitened" and has_new_head(self.config)
        results = {k: v for k, v in to_json(self.config).items() if k not in FIELDS_WITHOUT_EFFECT}
        if start_folder(config.weights):  # wherever the folder is when the run is resumed
            results["weights"] = self.start
        self.identity = {**results, "photos": table_hash(self.photos, *(validation or ()))}

    def _check_options(self) -> None:
        folder = start_folder(self.config.weights)
        if folder and folder.resolve() == self.out.resolve():
            raise OptionError(
                f"{self.out}: given as weights and as the output; give another output folder, or, "
                "to train a run for longer, its own settings with more --epochs"
            )
        batch = self.config.landmarks_per_batch * self.config.photos_per_landmark
        if batch % self.processes:
            raise OptionError(
                f"a batch of {batch} photos given to {self.processes} processes; expected "
                "landmarks_per_batch × photos_per_landmark to be a multiple of that"
            )
        if self.config.chunk and self.config.precision == "fp16":
            raise OptionError("chunk and precision fp16 given; use chunk with bf16 or float32")

    def _prepare_data(self, unreadable: list[str]) -> None:
        """Set up data, loss and optimizer; they depend on which photos are unreadable."""
        self.data = TrainingData(self.photos, self.validation, unreadable, self.config)
        with self.accelerator.main_process_first():
            self.data.prepare()
        self._prepare_network()

    def _prepare_network(self) -> None:
        """Prepare network, loss and optimizer for several processes and mixed precision."""
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
        self.wrapped_optimizer = self.accelerator.prepare_optimizer(
            self.optimizer, device_placement=False
        )
        self.parts: dict[str, Any] = {
            "net": self.net, "criterion": self.criterion, "optimizer": self.optimizer,
        }  # fmt: skip
        if self.ema:
            self.parts["ema"] = self.ema
        if self.accelerator.scaler is not None:
            self.parts["scaler"] = self.accelerator.scaler

    def resume(self) -> RunState:
        """Load the checkpoint; or start: find unreadable photos, group the landmarks."""
        path = self.folder / "last.pt"
        if path.exists():
            self._prepare_data(read_unreadable(path, self.identity))
            state = load_checkpoint(path, self.parts, self.identity)
            if self.is_main:  # the number of epochs may have grown
                write_json(self.folder / "config.json", to_json(self.config))
            return state
        vectors, failures = self.embed(self.photos, pooled=self.whitens)
        if self.is_main:
            write_json(self.folder / "config.json", to_json(self.config))
            write_json(self.folder / "unreadable.json", failures)
        state = RunState(unreadable=list(failures))
        try:
            self._prepare_data(state.unreadable)
        except DataError as error:
            first = "".join(list(failures.values())[:1]) or "none was unreadable"
            listed = self.folder / "unreadable.json"
            raise DataError(f"{error}; the first: {first}; all are in {listed}") from None
        vectors = vectors[np.isin(self.photos.ids, self.data.train.ids)]
        if self.whitens:
            vectors = whiten_head(self.net, vectors, self.data.codes)
            if self.ema is not None:
                self.ema.module.load_state_dict(self.net.state_dict())
            if self.criterion.arcface is not None:
                centre_arcface(self.criterion.arcface, vectors, self.data.codes)
        self.regroup(state, vectors)
        self.save(state)
        return state

    def load(self, batches: list[Rows], state: RunState) -> Iterable[Tensor]:
        """Set train mode; yields the pixels of this process's share of each remaining batch."""
        train_mode(self.net)
        train_mode(self.net.backbone, frozen_statistics=self.config.frozen_norms)
        train_mode(self.net.head, frozen_statistics=self.whitens)
        return self.data.load(batches, state, self.preprocessing, self._process_slice)

    def _process_slice(self, count: int) -> slice:
        """This process's part of a batch, in the order in which `gather_rows` joins them."""
        size = count // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)

    def train_step(
        self, pixels: Tensor, rows: Rows, state: RunState, steps: int
    ) -> tuple[float, float]:
        """Compute the gradients of a batch; every `accumulate` batches, step the optimizer.

        pixels: (b, 3, h, w) of this process. rows: of the whole batch. steps: batches per epoch.
        Returns the loss and the share of anchors that are ranked wrong within the batch.
        """
        config = self.config
        # The seed of dropout, if there is any: one 63-bit number made of all three.
        seeds = np.random.SeedSequence((config.seed, state.epoch, state.step))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))
        labels = torch.from_numpy(self.data.codes[rows]).to(self.device)
        pixels = pixels.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        last = (state.step + 1) % config.accumulate == 0 or state.step + 1 == steps
        if config.chunk:
            loss, embeddings = self._cached_backward(pixels, labels)
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
        """Add the gradients of a batch; returns its loss and all embeddings, detached."""
        embeddings = gather_rows(self.wrapped(pixels).float())
        loss = self.wrapped_criterion(embeddings, labels)
        self.accelerator.backward(loss / self.config.accumulate)
        return loss.detach(), embeddings.detach()

    def _cached_backward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Like `_backward`, with `chunk` photos in memory; the head gets the whole batch."""
        gathered: list[Tensor] = []

        def loss_of(pooled: Tensor) -> Tensor:
            gathered.append(gather_rows(self.net.embed_pooled(pooled).float()))
            return self.wrapped_criterion(gathered[-1], labels) / self.config.accumulate  # type: ignore[no-any-return]

        # Equal sizes, because a BatchNorm cannot compute statistics of a single remaining photo.
        chunks = torch.tensor_split(pixels, -(-len(pixels) // self.config.chunk))
        with self.accelerator.autocast():
            loss, _ = cached_backward(self.pooling, chunks, loss_of)
        return loss * self.config.accumulate, gathered[-1].detach()

    def _step(self, done: float) -> None:
        """One step of the optimizer, after a share `done` (0 to 1) of the run."""
        config = self.config
        if config.chunk:
            average_gradients(self.net)
        set_lr(self.optimizer, config.lr * schedule(done, config.warmup))
        self.wrapped_optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.net)

    def embed(self, photos: Photos, *, pooled: bool = False) -> tuple[Vectors, dict[str, str]]:
        """Vectors (N, dim) from the network that would be saved, and id → reason of failures.

        Each process embeds its share. The row of an unreadable photo is zero.
        pooled: the features before the head instead, as they are.
        """
        embedder = self._current_embedder()
        if pooled:
            embedder.net = PooledNet.of(embedder.net)
        vectors = np.zeros((len(photos), embedder.dim), dtype=np.float32)
        failures: dict[str, str] = {}
        rows = np.arange(self.rank, len(photos), self.processes)
        for batch in embed(embedder, photos.take(rows), progress=self._report_embedding):
            vectors[rows[batch.rows]] = batch.vectors
            failures |= {failure.id: failure.reason for failure in batch.failures}
        if self.processes == 1:
            return vectors, failures
        merged = sum_over_processes(torch.from_numpy(vectors).to(self.device)).cpu().numpy()
        gathered = accelerate.utils.gather_object([failures])
        return merged, {k: v for part in gathered for k, v in sorted(part.items())}

    def report_progress(self, text: str) -> None:
        """Report the position of the run, with a message."""
        if self.report:
            self.report(*self.position, text)

    def _report_embedding(self, done: int, photos: int) -> None:
        done, photos = done * self.processes, photos * self.processes
        if self.position[0]:
            self.report_progress(f"embedding {done:,} of {photos:,} photos")
        elif self.report and done < photos:  # before the first batch, these are all there is
            self.report(done, photos, "embedding photos before the first batch")

    def _current_embedder(self) -> TorchEmbedder:
        """The embedder as it would be saved now, with the moving average of the weights if any.

        A new object each time, because an embedder computes its id only once.
        """
        net = self.net if self.ema is None else self.ema.module
        assert isinstance(net, EmbeddingNet)
        return TorchEmbedder(
            net,
            self.preprocessing,
            device=str(self.device),
            views=self.views,
            licence=licence_of_start(self.config, net),
        )

    def validates_with_training_photos(self) -> bool:
        """Whether the training photos are the database of the validation."""
        return self.data.database is self.data.train

    def _groups_next(self, state: RunState) -> bool:
        every = self.config.regroup_every
        return self.config.batches == "subspaces" and (
            not len(state.groups) or bool(every and (state.epoch + 1) % every == 0)
        )

    def regroup(self, state: RunState, vectors: Vectors | None) -> None:
        """Group landmarks into subspaces for the next epoch.

        vectors: of the training photos; None = they were not needed for the validation, so that
        `centre_photos` of each landmark are embedded here: at the end of an epoch, but after the
        last one only once the run is made longer.
        """
        config = self.config
        if config.batches != "subspaces":
            state.groups = np.zeros(self.data.landmarks, dtype=np.int64)
        elif self._groups_next(state):
            codes = self.data.codes
            if vectors is None and state.step and state.epoch + 1 == config.epochs:
                state.groups = np.zeros(0, dtype=np.int64)
                return
            if vectors is None:
                rows = photos_of_each(codes, config.centre_photos, seed=(config.seed, state.total))
                codes = codes[rows]
                vectors = self.embed(self.data.train.take(rows))[0]
            state.groups = subspaces(
                class_centres(vectors, codes, self.data.landmarks),
                config.subspaces,
                seed=config.seed,
                smallest=config.landmarks_per_batch,
            )

    def validate(self, train_vectors: Vectors | None) -> dict[str, float]:
        """GAP and top-1 of the validation queries; train_vectors: of the training photos."""
        return validate(self.data, train_vectors, self.embed)

    def summary(self, state: RunState) -> dict[str, float]:
        """Log values of an epoch: loss, anchors ranked wrong, subspaces, crop size, GeM's p."""
        return {
            "loss": float(np.mean(state.losses)),
            "active": float(np.mean(state.active)),
            "subspaces": len(np.unique(state.groups)),
            "crop": crop_side(self.config, state.epoch),
            "gem_p": float(self.net.pool.p.detach()),
        }

    def facts(self) -> dict[str, Any]:
        """Data, device and versions of the run, for the model card."""
        data, packages = self.data, ("whichlandmark", "torch", "torchvision", "timm", "accelerate")
        separate = self.validation and not set(data.database.landmarks) & set(data.train.landmarks)
        relation = "not trained on" if separate else "also trained on, in other photos"
        return {
            "photos": f"{len(data.train)} of {data.landmarks} landmarks (table hash "
            f"{self.identity['photos']})",
            "validation": f"{len(data.queries)} queries against {len(data.database)} database "
            f"photos of {len(set(data.database.landmarks))} landmarks that are {relation}",
            "start": self.start,
            "device": f"{self.device}, {self.processes} process(es)",
            "versions": ", ".join(f"{name} {version(name)}" for name in packages),
            "licence of the initial weights": licence_of_start(self.config, self.net),
        }

    def save(self, state: RunState) -> None:
        """Write the checkpoint that `resume` reads."""
        if self.is_main:
            save_checkpoint(self.folder / "last.pt", state, self.parts, self.identity)

    def save_embedder(self) -> None:
        """Save the current embedder, without its ONNX file."""
        if self.is_main:
            self._current_embedder().save(self.out, export=False)

    def wait(self) -> None:
        """Wait for all processes, so that files of the main process can be read."""
        self.accelerator.wait_for_everyone()
