"""Kill PostgreSQL while photos are added, and check that every committed batch is complete.

    python benchmarks/postgres_kills.py [--rounds 50] [--seed 0]

Starts its own server (fsync on). In each round a thread adds batches of new photos, with some old
ones replaced, until SIGKILL ends the server and all its processes at a random moment. After the
restart the gallery must contain exactly the acknowledged batches, or those and the complete next
one, byte for byte as a local gallery with the same batches. `faults` must find nothing. Exit code 1
on a violation.
"""

from __future__ import annotations

import argparse
import sys

import tests_on_path  # noqa: F401
from tests.support.own_postgres import own_postgres
from tests.support.postgres_kills import Kills


def main() -> int:
    parser = argparse.ArgumentParser(description="SIGKILL of PostgreSQL during adds")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    violations, whole = 0, 0
    with own_postgres() as server:
        kills = Kills(server, given.seed)
        for number in range(1, given.rounds + 1):
            before = kills.stored
            line, wrong = kills.round()
            print(f"round {number}: {line}", *wrong, sep="\n  ", flush=True)
            violations += bool(wrong)
            whole += kills.stored > max(before, kills.acknowledged)
    print(f"{given.rounds} kills, {kills.stored} batches, {kills.reference.count()} photos: "
          f"{violations} rounds with a violation; in {whole} the batch under way was kept, "
          "whole")  # fmt: skip
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
