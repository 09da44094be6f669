"""`prop=imageinfo` of a file of Commons, and the metadata that its licence templates give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.support.fake_world import STANDARD_WIDTHS, FakeFile

JSON = dict[str, Any]
UTM = "?utm_source=commons.wikimedia.org&utm_campaign=imageinfo&utm_content="
CC = "https://creativecommons.org"

# Name → extmetadata of a licence. A field that Commons does not know is absent.
LICENCES: dict[str, dict[str, str]] = {
    **{
        f"cc-by{sa}-{version}": {
            "License": f"cc-by{sa}-{version}",
            "LicenseShortName": f"CC BY{sa.upper()} {version}",
            "LicenseUrl": f"{CC}/licenses/by{sa}/{version}",
            "UsageTerms": f"Creative Commons Attribution{' Share Alike' if sa else ''} {version}",
            "AttributionRequired": "true", "Copyrighted": "True",
        }
        for sa in ("", "-sa") for version in ("2.0", "2.5", "3.0", "4.0")
    },
    "cc-by-sa-3.0-de": {
        "License": "cc-by-sa-3.0-de", "LicenseShortName": "CC BY-SA 3.0 de",
        "LicenseUrl": f"{CC}/licenses/by-sa/3.0/de/deed.en", "AttributionRequired": "true",
        "Copyrighted": "True",
    },
    "cc0": {
        "License": "cc0", "LicenseShortName": "CC0", "Copyrighted": "True",
        "LicenseUrl": "http://creativecommons.org/publicdomain/zero/1.0/deed.en",
        "UsageTerms": "Creative Commons Zero, Public Domain Dedication",
        "AttributionRequired": "false",
    },
    "pd": {
        "License": "pd", "LicenseShortName": "Public domain", "UsageTerms": "Public domain",
        "Copyrighted": "False", "AttributionRequired": "false",
    },
    # LicenseParser gives no machine name for these.
    "nc": {
        "LicenseShortName": "CC BY-NC 4.0", "LicenseUrl": f"{CC}/licenses/by-nc/4.0",
        "UsageTerms": "Creative Commons Attribution-NonCommercial 4.0", "Copyrighted": "True",
    },
    "nd": {
        "LicenseShortName": "CC BY-ND 3.0", "LicenseUrl": f"{CC}/licenses/by-nd/3.0",
        "Copyrighted": "True",
    },
    "nonfree": {
        "License": "cc-by-sa-4.0", "LicenseShortName": "CC BY-SA 4.0", "NonFree": "true",
        "LicenseUrl": f"{CC}/licenses/by-sa/4.0", "Restrictions": "trademarked",
    },
    "unknown": {"LicenseShortName": "Permit of the harbour office", "Copyrighted": "True"},
    "none": {},
}  # fmt: skip


def imageinfo(file: FakeFile, params: Mapping[str, str], width: int, base: str) -> JSON:
    """One member of `imageinfo`. width: of the thumbnail asked for, 0 = none."""
    if file.state == "filemissing":
        return {"filemissing": True}
    props = params.get("iiprop", "timestamp|user").split("|")
    info: JSON = {}
    if "timestamp" in props:
        info["timestamp"] = file.timestamp
    if "user" in props:
        info |= {"userhidden": True} if file.state == "userhidden" else {"user": file.uploader}
    if "size" in props or "dimensions" in props:
        info |= {"size": file.size, "width": file.width, "height": file.height}
    if file.state == "filehidden":
        return info | {"filehidden": True}
    if "url" in props:
        info |= _thumbnail(file, width, base) if width else {}
        page = f"https://commons.wikimedia.org/wiki/File:{quote(file.key, safe='-_.~')}"
        info |= {
            "url": f"{base}{file.place()}{UTM}original",
            "descriptionurl": page,
            "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={file.pageid}",
        }
    if "sha1" in props:
        info["sha1"] = file.sha1
    if "mime" in props:
        info["mime"] = file.mime
    if "mediatype" in props:
        info["mediatype"] = "BITMAP" if file.mime.startswith("image/") else "OFFICE"
    if "extmetadata" in props:
        only = [one for one in params.get("iiextmetadatafilter", "").split("|") if one]
        info["extmetadata"] = {
            name: {"value": value, "source": "commons-desc-page", "hidden": ""}
            for name, value in file.about.items()
            if not only or name in only
        }
    return info


def _thumbnail(file: FakeFile, width: int, base: str) -> JSON:
    """`thumburl` is of the next larger standard width, `thumbwidth` says what was asked for."""
    if file.state == "thumberror":
        return {"thumberror": "Error creating thumbnail: convert: insufficient image data in file"}
    if file.state == "nothumb" or file.mime.startswith("audio/"):
        return {}
    if width >= file.width and file.mime in ("image/jpeg", "image/png", "image/webp"):
        return {
            "thumburl": f"{base}{file.place()}{UTM}original",
            "thumbwidth": file.width, "thumbheight": file.height,
        }  # fmt: skip
    larger = [one for one in STANDARD_WIDTHS if one >= width] or [STANDARD_WIDTHS[-1]]
    if larger[0] >= file.width and file.mime in ("image/jpeg", "image/png", "image/webp"):
        address = f"{base}{file.place()}{UTM}original"
    else:
        address = f"{base}{file.place(thumb=larger[0])}{UTM}thumbnail"
    tall = round(width * file.height / max(1, file.width))
    return {"thumburl": address, "thumbwidth": width, "thumbheight": tall}
