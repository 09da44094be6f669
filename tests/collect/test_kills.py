"""An import from Commons that is killed goes on where it was, and asks for nothing twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.fake_city import small_city

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="needs a fork server and pidfd"),
]


def test_a_killed_import_ends_with_the_same_tables(tmp_path: Path) -> None:
    from tests.support.killed_import import Kills

    with Kills(small_city(), tmp_path, seed=7) as killing:
        assert {"photos.csv", "landmarks.csv", "credits.csv"} <= killing.expected.keys()
        assert killing.media > 20
        found = killing.sequence(4)
    assert found.wrong == []
    assert found.kills >= 2
