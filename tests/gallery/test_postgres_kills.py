"""SIGKILL of PostgreSQL while photos are added: three rounds of the benchmark."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("psycopg")

from tests.support import ROOT, own_postgres
from tests.support.postgres_kills import Kills, batch
from whichlandmark.gallery.postgres.store import PostgresGallery

pytestmark = pytest.mark.server


def test_three_server_kills_lose_no_committed_batch() -> None:
    try:
        with own_postgres.own_postgres() as server:
            kills = Kills(server, seed=1, max_seconds=0.3)
            for _ in range(3):
                line, wrong = kills.round()
                assert wrong == [], line
            assert kills.stored > 0
            with PostgresGallery.open(kills.address) as gallery:
                gallery.put(batch(kills.stored))  # the gallery is still usable
                assert gallery.count() >= kills.reference.count()
                gallery.remove([f"b{kills.stored}-0"])
                kills.acknowledged = kills.stored
                assert kills._compare(gallery) != []  # the comparison detects differences
    except own_postgres.NoServerError as error:
        pytest.skip(str(error))


ORPHAN = """
import time
from tests.support.own_postgres import own_postgres
with own_postgres() as server:
    print(server._running.pid, server.folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux'")
def test_the_server_dies_with_the_process_that_started_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout as output:
        if not (line := output.readline()):
            process.wait()
            pytest.skip("no server can be started here")
        process.kill()
        process.wait()
    number, folder = line.decode().split()
    until = time.monotonic() + 10
    while psutil.pid_exists(int(number)) and time.monotonic() < until:
        if psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.02)
    shutil.rmtree(folder)  # what `own_postgres` would have done
    assert time.monotonic() < until
