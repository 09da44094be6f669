"""Ask a server which landmarks the photos of a folder show, and write the answers into one csv.

    python examples/recognize_over_http.py http://127.0.0.1:8000 holiday/ labels.csv --key KEY

The address is that of `whichlandmark serve`; nothing but the standard library is needed here. The
csv has a row for each photo. `whichlandmark label` does the same and more on the machine that has
the recognizer, and writes XMP sidecars.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}
MAX_TRIES = 8  # of a request to a busy server
Recognize = Callable[[Path], dict[str, Any]]  # photo → answer, as `recognize --json` prints it


def over_http(address: str, key: str) -> Recognize:
    """Recognize with a server; retries while it is busy."""

    def recognize(photo: Path) -> dict[str, Any]:
        data = base64.b64encode(photo.read_bytes()).decode()
        body = json.dumps({"photos": [{"name": photo.name, "data": data}]}).encode()
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        for _ in range(MAX_TRIES):
            request = urllib.request.Request(f"{address}/v1/recognize", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=120) as reply:
                    return dict(json.load(reply)["results"][0])
            except urllib.error.HTTPError as error:
                with error:
                    answer = dict(json.load(error))
                if error.code not in (429, 503):
                    return answer
                time.sleep(int(error.headers.get("Retry-After", 5)))
        return {"error": {"message": f"the server was busy {MAX_TRIES} times"}}

    return recognize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="http://HOST:PORT of the server")
    parser.add_argument("folder", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    if not options.address.startswith(("http://", "https://")):
        parser.error("expected the address of a server, as http://127.0.0.1:8000")
    recognize = over_http(options.address.rstrip("/"), options.key)
    rows, failed = [], 0
    for photo in sorted(options.folder.rglob("*")):
        if photo.suffix.lower() not in SUFFIXES:
            continue
        try:
            answer = recognize(photo)
        except OSError as error:
            answer = {"error": {"message": str(error)}}
        if "error" in answer:
            print(f"{photo}: {answer['error']['message']}", file=sys.stderr)
            failed += 1
            continue
        name = str(photo.relative_to(options.folder))
        rows.append([name, answer["landmark"] or "", answer["decision"],
                     f"{answer['confidence']:.3f}", answer["words"]])  # fmt: skip
    with open(options.csv, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "landmark", "decision", "confidence", "words"])
        writer.writerows(rows)
    print(f"{len(rows)} photos answered, {failed} failed")
    sys.exit(1 if failed and not rows else 0)


if __name__ == "__main__":
    main()
