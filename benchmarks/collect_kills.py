"""Kill an import from Commons at 50 random moments: are the tables the same, is anything lost?

    python benchmarks/collect_kills.py [--kills 50] [--seed 0]

Imports of a small drawn city from a stand-in for Wikimedia on loopback. Each import is killed by
SIGKILL up to 10 times, each time when the stand-in has got a random number of requests or shortly
after, and started again with the same folder; then it may end. Printed for each: photos that were
sent a second time (at most the two in flight at each kill), requests beside those of an import that
nobody kills, and whether the tables and photos are the same bytes. Exit code 1 when they are not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import tests_on_path  # noqa: F401
from tests.support.fake_city import small_city
from tests.support.killed_import import Kills


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    done = again = extra = wrong = 0
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Kills(small_city(), Path(folder), options.seed) as killing,
    ):
        print(f"undisturbed: {killing.api} API requests, {killing.media} photos")
        print("import  kills  API requests  photos asked for  sent again  result")
        number = 0
        while done < options.kills:
            number += 1
            found = killing.sequence(min(1 + number % 10, options.kills - done))
            done, again = done + found.kills, again + found.again
            extra += found.api - killing.api
            wrong += len(found.wrong)
            print(f"{number:6}  {found.kills:5}  {found.api:12}  {found.media:16}  "
                  f"{found.again:10}  {'; '.join(found.wrong) or 'same'}", flush=True)  # fmt: skip
    print(
        f"{done} kills: {again} photos sent again (at most 2 a kill), {extra} more API requests "
        f"(at most 1 a kill), {wrong} faults; {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
