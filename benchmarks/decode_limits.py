"""Memory and processor time that decoding takes for each pixel, by format, in a decode process.

    python benchmarks/decode_limits.py [--megapixels 6 18] [--only WEBP]
    python benchmarks/decode_limits.py --pool 400

Each kind of photo is encoded at two sizes. Forks of a process that is set up as the server's decode
processes are find, by halving, the smallest RLIMIT_DATA under which the photo is decoded; the
difference between the sizes gives bytes a pixel. `core/images.py` holds the figures, rounded up.

With --pool, the pool is given a photo of 48 megapixels of each kind, whose refusal says how
many are the most, and one of 97% of these, which must be decoded. Exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from whichlandmark.serving.decode_pool import WORKER_ENVIRONMENT, DecodeLimits, DecodePool

STEP = 2_000_000  # bytes; the precision

Encode = Callable[[Pillow.Image], bytes]


def saved(form: str, mode: str = "RGB", **options: object) -> Encode:
    def encode(picture: Pillow.Image) -> bytes:
        data = io.BytesIO()
        picture.convert(mode).save(data, form, **options)
        return data.getvalue()

    return encode


def turned(form: str, **options: object) -> Encode:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return saved(form, exif=exif, **options)


def png_of_16_bits(picture: Pillow.Image) -> bytes:
    import cv2

    pixels = np.asarray(picture).astype(np.uint16) * 257
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def heic(mode: str = "RGB", **options: object) -> Encode:
    def encode(picture: Pillow.Image) -> bytes:
        import pillow_heif  # not a dependency: only this encodes, and it carries an encoder

        data = io.BytesIO()
        pillow_heif.from_pillow(picture.convert(mode)).save(data, quality=60, **options)
        return data.getvalue()

    return encode


def heic_of_10_bits(picture: Pillow.Image) -> bytes:
    import pillow_heif

    pixels = (np.asarray(picture).astype(np.uint16) * 257).tobytes()
    data = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", picture.size, pixels).save(data, quality=60)
    return data.getvalue()


FAST = {"method": 0, "quality": 80}

KINDS: dict[str, Encode] = {
    "JPEG": saved("JPEG", quality=90),
    "JPEG turned": turned("JPEG", quality=90),
    "JPEG gray": saved("JPEG", "L", quality=90),
    "JPEG CMYK": saved("JPEG", "CMYK", quality=90),
    "JPEG progressive": saved("JPEG", quality=90, progressive=True),
    "JPEG progressive 4:4:4": saved("JPEG", quality=90, progressive=True, subsampling=0),
    "PNG": saved("PNG", compress_level=1),
    "PNG turned": turned("PNG", compress_level=1),
    "PNG alpha": saved("PNG", "RGBA", compress_level=1),
    "PNG gray": saved("PNG", "L", compress_level=1),
    "PNG palette": saved("PNG", "P", compress_level=1),
    "PNG 16 bit": png_of_16_bits,
    "PNG 16 bit gray": lambda picture: saved("PNG", compress_level=1)(
        Pillow.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    ),
    "WEBP lossy": saved("WEBP", **FAST),
    "WEBP lossy turned": turned("WEBP", **FAST),
    "WEBP lossy alpha": saved("WEBP", "RGBA", **FAST),
    "WEBP lossless": saved("WEBP", lossless=True, method=0, quality=0),
    "WEBP lossless alpha": saved("WEBP", "RGBA", lossless=True, method=0, quality=0),
    "GIF": saved("GIF"),
    "AVIF": saved("AVIF", speed=10, quality=60),
    "AVIF 4:4:4": saved("AVIF", speed=10, quality=60, subsampling="4:4:4"),
    "AVIF alpha": saved("AVIF", "RGBA", speed=10, quality=60),
    "TIFF": saved("TIFF"),
    "TIFF LZW": saved("TIFF", compression="tiff_lzw"),
    "TIFF deflate alpha": saved("TIFF", "RGBA", compression="tiff_adobe_deflate"),
    "TIFF JPEG": saved("TIFF", compression="jpeg"),
    "TIFF CMYK LZW": saved("TIFF", "CMYK", compression="tiff_lzw"),
    "HEIC": heic(),
    "HEIC alpha": heic("RGBA"),
    "HEIC 4:4:4": heic(chroma=444),
    "HEIC 10 bit": heic_of_10_bits,
}


def photo(megapixels: float) -> Pillow.Image:
    """Smooth noise with grain, 4:3."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(width * 3 / 4)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 64 + 1, width // 64 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Pillow.fromarray(coarse).resize((width, height), Pillow.Resampling.BICUBIC))
    grain = rng.integers(0, 8, (height, width, 1), dtype=np.uint8)
    return Pillow.fromarray(np.maximum(smooth, 8) - grain)


def data_bytes() -> int:
    """What RLIMIT_DATA counts of this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))


def decodes(data: bytes, side: int, limit: int) -> tuple[bool, float]:
    """Whether a fork with `limit` more bytes decodes the photo, and its processor seconds."""
    from whichlandmark.serving.decode_worker import PIXELS, decode_photo

    pid = os.fork()
    if not pid:
        code = 1
        try:
            most = data_bytes() + limit
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            decode_photo(data, PIXELS, side)
            code = 0
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    return status == 0, used.ru_utime + used.ru_stime


def encoded(encode: Encode, megapixels: float) -> bytes:
    """A photo, encoded in a fork, so that this process has no freed memory that forks could use."""
    with tempfile.NamedTemporaryFile() as file:
        pid = os.fork()
        if not pid:
            try:
                Path(file.name).write_bytes(encode(photo(megapixels)))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return Path(file.name).read_bytes()


def needed(data: bytes, side: int) -> tuple[int, float]:
    """(bytes, seconds) that decoding takes; (-1, 0) when it fails with 4 GB."""
    worked, seconds = decodes(data, side, 4_000_000_000)
    if not worked:
        return -1, 0.0
    low, high = 0, 2_000_000_000
    while high - low > STEP:
        middle = (low + high) // 2
        low, high = (low, middle) if decodes(data, side, middle)[0] else (middle, high)
    return high, seconds


def check_pool(megabytes: int, only: str) -> bool:
    """Whether the pool decodes what its refusals say that it does."""
    pool = DecodePool(DecodeLimits(processes=1, megabytes=megabytes, seconds=120, cpu_seconds=60))
    fine = True
    for name, encode in KINDS.items():
        if not name.startswith(only):
            continue
        error = pool.pixels(encoded(encode, 48), 224).exception()
        most = float(str(error).rpartition("at most ")[2]) if "at most" in str(error) else 48.0
        data = encoded(encode, most * 0.97)
        began = time.monotonic()
        failed = pool.pixels(data, 224).exception()
        said = f"{time.monotonic() - began:.2f} s" if failed is None else f"FAILED: {failed}"
        fine = fine and failed is None
        print(f"{name:24} {most:5.1f} megapixels: {said}   ({error})", flush=True)
    pool.close()
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs=2, default=[6.0, 18.0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--only", default="")
    parser.add_argument("--pool", type=int, default=0, help="megabytes of a decode process")
    options = parser.parse_args()
    if options.pool:
        raise SystemExit(0 if check_pool(options.pool, options.only) else 1)
    from whichlandmark.core.images import read_image

    read_image(encoded(saved("JPEG"), 0.01))
    print(f"{'kind':24} {'bytes/px':>9} {'fixed MB':>9} {'file MB':>8} {'s/megapixel':>12}")
    for name, encode in KINDS.items():
        if not name.startswith(options.only):
            continue
        began = time.time()
        files = [encoded(encode, each) for each in sorted(options.megapixels)]
        if not files[1]:
            print(f"{name:24} not measured: nothing here encodes it")
            continue
        side = 0 if name.startswith("JPEG") else options.side  # 0 = at full size
        (less, _), (more, seconds) = (needed(data, side) for data in files)
        pixels = [each * 1e6 for each in sorted(options.megapixels)]
        slope = (more - less) / (pixels[1] - pixels[0])
        print(
            f"{name:24} {slope:9.1f} {(less - slope * pixels[0]) / 1e6:9.1f} "
            f"{len(files[1]) / 1e6:8.1f} {seconds / pixels[1] * 1e6:12.3f}"
            f"   ({time.time() - began:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.update(WORKER_ENVIRONMENT)  # malloc reads it when a process starts
    if os.environ.get("DECODE_LIMITS") != "set":
        set_now = {**os.environ, "DECODE_LIMITS": "set"}
        os.execve(sys.executable, [sys.executable, *sys.argv], set_now)
    main()
