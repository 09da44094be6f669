"""compare: two runs on the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from .app import Json, app

if TYPE_CHECKING:
    from ..comparison import Changed, Comparison


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="predictions.csv of one run")],
    b: Annotated[Path, typer.Argument(help="predictions.csv of another run")],
    common: Annotated[
        bool, typer.Option("--common", help="Leave out queries that only one file has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Which of two runs is better, how sure is that, and which photos changed?"""
    import dataclasses

    from ..comparison import compare_files

    found = compare_files(a, b, common=common)
    if as_json:
        console.result(dataclasses.asdict(found), True, title="")
        return
    _print(found, a, b)


def _print(found: Comparison, a: Path, b: Path) -> None:
    left_out = found.only_in_a + found.only_in_b
    console.say(f"a = {a}\nb = {b}\n{found.queries} queries, {left_out} in one file only left out")
    if found.known_in_one:
        console.say(
            f"{found.known_in_one} queries show a landmark that only one gallery has: "
            "the two GAPs count different queries"
        )
    console.say(f"\n{'':<20}{'a':>8}{'b':>8}{'b − a':>9}   95 % interval        b better in")
    for name, m in found.measures.items():
        low, high = m.interval
        console.say(
            f"{name:<20}{m.a:>8.4f}{m.b:>8.4f}{m.difference:>+9.4f}   "
            f"{low:+.4f} to {high:+.4f}   {m.b_better:.1%} of draws"
        )
    _print_changed("best guess, known landmarks", found.guesses)
    _print_changed("answer, all queries", found.answers)


def _print_changed(what: str, changed: Changed) -> None:
    console.say(f"\n{what}: {changed.fixed} wrong → right, {changed.broken} right → wrong")
    for sign, rows in (("+", changed.first_fixed), ("-", changed.first_broken)):
        for row in rows:
            console.say(
                f"  {sign} {row['path'] or row['id']}  shows {row['truth'] or 'no landmark'}; "
                f"a: {row['a']}, b: {row['b']}"
            )
