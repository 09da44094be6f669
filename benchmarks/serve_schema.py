"""Run Schemathesis on the published OpenAPI schema, and print the faults of the replies.

    python benchmarks/serve_schema.py RECOGNIZER [--requests 5000] [--seed 1]

Serves a copy of the recognizer folder whose gallery may be changed, and runs Schemathesis until it
has sent this number of requests. Replies must have a documented status, type and schema, and no 5xx
other than 503. Prints the statuses, the faults and the server's exceptions; exit code 1 if there
are any.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from served import Served, serving

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance",
)  # fmt: skip
CONFIG = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503]\n'
OPERATIONS = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    statuses: Counter[str] = Counter()
    findings: list[str] = []
    exceptions: list[str] = []
    seed, began = options.seed, time.time()
    while statuses.total() < options.requests:
        with serving(options.recognizer, "--queue", "64") as server:
            findings += tested(server, max(20, options.requests // OPERATIONS), seed)
        for line in map(json.loads, server.log):
            if line["event"] == "request":
                statuses[str(line["status"])] += 1
            elif line["level"] in ("error", "critical"):
                exceptions.append(f"{line.get('exception')} at {line.get('where', ['?'])[-1]}")
        seed += 1
    print(f"requests {statuses.total()} in {time.time() - began:.0f} s")
    print("statuses " + ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))
    print(f"findings {len(findings)}, exceptions in the server {len(exceptions)}")
    for text in [*findings, *sorted(set(exceptions))][:40]:
        print(text)
    sys.exit(1 if findings or exceptions else 0)


def tested(server: Served, examples: int, seed: int) -> list[str]:
    """Run Schemathesis against a server; returns its failures."""
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "schemathesis.toml"
        config.write_text(CONFIG)
        # One worker: with two, ast.parse of Python 3.11 sometimes fails inside Hypothesis.
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config),
            "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", ",".join(CHECKS),
            "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure",
            "--no-shrink", "--suppress-health-check", "all", "--warnings", "off", "--workers", "1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    if done.returncode not in (0, 1):
        raise SystemExit(text[-2000:] + done.stderr[-2000:])
    first = min((at for word in ("FAILURES", "ERRORS") if (at := text.find(word)) >= 0), default=0)
    return [] if done.returncode == 0 else [text[first:][:8000]]


if __name__ == "__main__":
    main()
