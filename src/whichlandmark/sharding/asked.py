"""What the command line asks of shards: options that fit together, or an error that says which."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError
from .cutting import one_of

ENGINES = ("here", "ray")


@dataclass(frozen=True)
class Asked:
    """The options as given: --shards N, --shard i/N, --engine, --shard-folder, --load."""

    shards: int | None = None
    shard: str | None = None
    engine: str | None = None
    folder: str | None = None
    load: bool = False

    @property
    def anything(self) -> bool:
        """False: an index without shards."""
        return self != Asked()

    def settled(self) -> tuple[int, int | None, str]:
        """Shards in all, the only one to make (None = all), and the engine as `Job` names it.

        Raises OptionError where options are missing or contradict each other.
        """
        number, count = None, self.shards
        if self.shard is not None:
            number, count = one_of(self.shard, self.shards)
        if count is None:
            raise OptionError(
                f"{self._given()} given; expected --shards N with it, the number of shards"
            )
        if self.engine not in (None, *ENGINES):
            raise OptionError(f"--engine {self.engine!r} given; expected {' or '.join(ENGINES)}")
        if number is not None and (self.load or self.engine == "ray"):
            raise OptionError(
                f"--shard {self.shard} and {'--load' if self.load else '--engine ray'} given; "
                "--shard makes one shard here; leave it out to make or load all"
            )
        if self.load and self.engine is not None:
            raise OptionError(f"--load and --engine {self.engine} given; --load makes no shards")
        return count, number, "none" if self.load else self.engine or "here"

    def _given(self) -> str:
        if self.engine is not None:
            return f"--engine {self.engine}"
        return "--load" if self.load else f"--shard-folder {self.folder}"
