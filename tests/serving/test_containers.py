"""The examples of containers: the compose file, health checks, mounts; nginx before a server."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "serving"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("ruamel.yaml")
    found: dict[str, Any] = yaml.YAML(typ="safe").load((EXAMPLES / "compose.yaml").read_text())
    return found


def test_the_compose_file_follows_its_specification() -> None:
    pytest.importorskip("check_jsonschema")
    ran = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
         EXAMPLES / "compose.yaml"], capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


def test_the_compose_file_starts_the_server_as_its_options_are(compose: dict[str, Any]) -> None:
    from typer.main import get_command

    from whichlandmark.cli import app

    service = compose["services"]["whichlandmark"]
    program, verb, *arguments = service["command"]
    assert (program, verb) == ("whichlandmark", "serve")
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    given = command.make_context(verb, arguments, resilient_parsing=True).params
    assert str(given["key_file"]) == "/data/keys/keys.json"
    subnet = compose["networks"]["inner"]["ipam"]["config"][0]["subnet"]
    assert list(given["trusted_proxy"]) == [subnet]
    assert "ports" not in service
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_key_file_is_mounted_with_its_folder(compose: dict[str, Any]) -> None:
    """Replaced by `keys remove`, a file that is mounted itself would stay the old one."""
    mounts = compose["services"]["whichlandmark"]["volumes"]
    assert "./keys:/data/keys:ro" in mounts
    texts = [path.read_text() for path in (EXAMPLES / "Containerfile", ROOT / "docs/serving.md")]
    for text in (*mounts, *texts):
        assert "keys.json:/" not in text


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_the_health_checks_say_what_readyz_says(compose: dict[str, Any]) -> None:
    of_image = re.search(r"HEALTHCHECK .* CMD (\[.*\])", (EXAMPLES / "Containerfile").read_text())
    assert of_image
    of_compose = compose["services"]["whichlandmark"]["healthcheck"]["test"][1:]
    for command in (json.loads(of_image[1]), of_compose):
        assert command[0] == "python"
        for status in (200, 503):
            with answering(status) as port:
                code = command[2].replace("8000", str(port))
                ran = subprocess.run([sys.executable, "-c", code], capture_output=True)
                assert (ran.returncode == 0) is (status == 200), ran.stderr
        gone = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert gone.returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_everything_is_right_behind_nginx() -> None:
    ran = subprocess.run(
        [sys.executable, "serve_proxy.py"], cwd=ROOT / "benchmarks", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("\nok") >= 48
