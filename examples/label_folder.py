"""Label the photos of a folder with XMP sidecars or in one csv. Photos are not changed.

    python examples/label_folder.py paris.wl holiday/ --xmp
    python examples/label_folder.py http://127.0.0.1:8000 holiday/ --csv labels.csv --key KEY

The first argument is a recognizer folder, or the address of a server (`whichlandmark serve`). A
sidecar, holiday/a.jpg.xmp, has the landmark's title as a keyword (dc:subject) and its coordinates;
an existing sidecar is not changed. Only photos with the decision "landmark" get a sidecar; the csv
has a row for each photo.
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
from xml.sax.saxutils import escape

import whichlandmark as wl

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}
MAX_TRIES = 8  # of a request to a busy server
SIDECAR = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/">
   <dc:subject><rdf:Bag><rdf:li>{keyword}</rdf:li></rdf:Bag></dc:subject>{place}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
Recognize = Callable[[Path], dict[str, Any]]  # photo → answer, as `recognize --json` prints it


def in_process(folder: str) -> Recognize:
    """Recognize with a recognizer folder, in this process."""
    from whichlandmark.recognition.answer import GalleryFacts, answer_object

    recognizer = wl.load(folder)
    facts = GalleryFacts.of(recognizer)
    return lambda photo: answer_object(photo.name, recognizer(photo), facts)


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


def sidecar(answer: dict[str, Any]) -> str:
    """An XMP packet: the landmark as a keyword, and its coordinates if known."""
    best = answer["candidates"][0]
    place = ""
    if best["latitude"] is not None:
        north = degrees(best["latitude"], "NS")
        east = degrees(best["longitude"], "EW")
        place = (f"\n   <exif:GPSLatitude>{north}</exif:GPSLatitude>"
                 f"\n   <exif:GPSLongitude>{east}</exif:GPSLongitude>")  # fmt: skip
    return SIDECAR.format(keyword=escape(best["title"] or best["landmark"]), place=place)


def degrees(value: float, signs: str) -> str:
    """48.8583 → "48,51.498000N": degrees and minutes, XMP's format."""
    whole, rest = divmod(abs(value), 1)
    return f"{int(whole)},{60 * rest:.6f}{signs[value < 0]}"


def write_sidecar(photo: Path, answer: dict[str, Any]) -> bool:
    """Write photo.jpg.xmp, unless it exists. Returns whether it was written."""
    try:
        with open(f"{photo}.xmp", "x", encoding="utf-8") as file:
            file.write(sidecar(answer))
    except FileExistsError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", help="a folder, or http://HOST:PORT")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--xmp", action="store_true")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    if not (options.csv or options.xmp):
        parser.error("give --csv FILE or --xmp")
    if options.recognizer.startswith(("http://", "https://")):
        recognize = over_http(options.recognizer.rstrip("/"), options.key)
    else:
        recognize = in_process(options.recognizer)
    rows, written, failed = [], 0, 0
    for photo in sorted(options.folder.rglob("*")):
        if photo.suffix.lower() not in SUFFIXES:
            continue
        try:
            answer = recognize(photo)
        except (wl.WhichLandmarkError, OSError) as error:
            answer = {"error": {"message": str(error)}}
        if "error" in answer:
            print(f"{photo}: {answer['error']['message']}", file=sys.stderr)
            failed += 1
            continue
        name = str(photo.relative_to(options.folder))
        rows.append([name, answer["landmark"] or "", answer["decision"],
                     f"{answer['confidence']:.3f}", answer["words"]])  # fmt: skip
        if options.xmp and answer["decision"] == "landmark":
            written += write_sidecar(photo, answer)
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["photo", "landmark", "decision", "confidence", "words"])
            writer.writerows(rows)
    print(f"{len(rows)} photos answered, {failed} failed, {written} sidecars written")
    sys.exit(1 if failed and not rows else 0)


if __name__ == "__main__":
    main()
