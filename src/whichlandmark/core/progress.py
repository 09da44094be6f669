"""Progress of long work: bars on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import OptionError
from .types import NotedProgress, Progress

SECONDS_BETWEEN_LINES = 60.0  # of plain progress; a phase also prints a line when it begins

StartPhase = Callable[[str], NotedProgress]  # name of a phase → its progress function


@contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[StartPhase]:
    """Yield a function that starts to show a phase on stderr, by its name.

    It returns a callback (done, total[, note]). A terminal or a notebook shows a bar with the time
    that is left; elsewhere a line is printed when the phase begins and every minute from then on.
    Under torchrun only process 0 shows anything.

    quiet: show nothing.
    """
    if quiet or os.environ.get("RANK", "0") != "0":
        yield lambda name: lambda *numbers: None
    elif sys.stderr.isatty() or "ipykernel" in sys.modules:
        with _bars() as start:
            yield start
    else:
        yield _plain_phase


@contextmanager
def progress_for(wanted: bool | Progress | None, phase: str) -> Iterator[Progress | None]:
    """The progress function of one phase, as the argument `progress` of a public function asks.

    Args:
        wanted: True = show it; a function = call it with (done, total); False or None = neither.
        phase: name of the phase.

    Raises:
        OptionError: for anything else.
    """
    if wanted is True:
        with shown_progress() as start:
            yield start(phase)
    elif wanted is False or wanted is None:
        yield None
    elif callable(wanted):
        yield wanted
    else:
        raise OptionError(
            f"progress={wanted!r} given; expected True, False or a function of (done, total)"
        )


@contextmanager
def _bars() -> Iterator[StartPhase]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left {task.fields[note]}", markup=False),
    )
    console = None if "ipykernel" in sys.modules else Console(stderr=True)
    # Lines printed meanwhile stay above the bars, but not where stdout is a file or a pipe: they
    # would go to stderr with the bars.
    bars = ProgressBars(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    )
    with bars:

        def start(name: str) -> NotedProgress:
            task = bars.add_task(name, total=None, note="")

            def move(done: int, total: int, note: str = "") -> None:
                bars.update(task, completed=done, total=total, note=note, visible=done < total)

            return move

        yield start


def _plain_phase(name: str) -> NotedProgress:
    began = last = -1.0
    first = of = 0
    lock = threading.Lock()

    def move(done: int, total: int, note: str = "") -> None:
        nonlocal began, last, first, of
        with lock:
            now = time.monotonic()
            if began < 0:
                last = now
                _print(f"{name}: {done} of {total}")
            if total != of:  # other things are counted now, at another speed
                began, first, of = now, done, total
            if now - last >= SECONDS_BETWEEN_LINES and done < total:
                last = now
                left = ""
                if done > first:
                    speed = (now - began) / (done - first)
                    left = f"{time_in_words(speed * (total - done))} left"
                parts = [f"{name}: {done} of {total}", left, note]
                _print(", ".join(part for part in parts if part))

    return move


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def time_in_words(seconds: float) -> str:
    """A duration to the next coarse step: "40 s", "about 3 min", "about 2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
