"""Make the pictures of the documentation from the files that `make demo` writes.

    python benchmarks/docs_pictures.py demo/ docs/

Writes docs/world.jpg (a row of photos for each of ten landmarks) and docs/report.png (the top of
report.html, drawn by a headless Chromium, which must be installed).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image as Pillow

from contact_sheet import contact_sheet
from whichlandmark.core.json_options import from_json
from whichlandmark.data.synthetic.plan import DrawnWorld


def main(demo: Path, docs: Path) -> None:
    stored = json.loads((demo / "world" / "world.json").read_text())
    world = from_json(DrawnWorld, {k: v for k, v in stored.items() if k != "drawing"})
    Pillow.fromarray(contact_sheet(world, 10, 8)).save(docs / "world.jpg", quality=80)
    screenshot(demo / "report.html", docs / "report.png")


def screenshot(page: Path, picture: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no Chromium found; docs/report.png is left as it is")
    with tempfile.TemporaryDirectory() as profile:
        large = Path(profile) / "large.png"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", f"--user-data-dir={profile}",
             "--window-size=1200,1500", f"--screenshot={large}", page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        small = Pillow.open(large).convert("RGB").resize((900, 1125), Pillow.Resampling.LANCZOS)
        small.quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
