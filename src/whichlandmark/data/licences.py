"""Licences of photos, from Creative Commons addresses and Wikimedia Commons ids; unfree refused.

Checked in the public code of MediaWiki's extension CommonsMetadata (LicenseParser, DataCollector):
Commons makes its machine id of the short name of ONE licence of the file, public domain before CC
before others: `cc0`, `cc-pd`, `pd`, or kind, version and port in lower case (`cc-by-sa-3.0-de`). It
makes none for NC and ND, for other licences and for several versions in one name ("CC BY-SA
3.0,2.5,2.0"), so the short name is read too. `NonFree` is set if any licence of the file is unfree.
Unproven: which short names are in use, because no list of them exists; and that `cc-by-sa-all`
holds version 3.0, which LicenseParser says of `cc-by-sa-1.0+` only. Free licences that are neither
Creative Commons nor public domain (GFDL alone, FAL, "Attribution", "No restrictions") are "not
understood", because nothing here knows what they ask for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

NOT_UNDERSTOOD = "licence not understood"

NO_LICENCE = "no licence given"

NON_COMMERCIAL = "its licence forbids commercial use (NC)"

NO_DERIVATIVES = "its licence forbids changed copies (ND)"

NOT_FREE = "marked as not free"

CONTRADICTION = f"{NOT_UNDERSTOOD}: its name and its address differ"

_CREATIVE_COMMONS = "https://creativecommons.org"

_KINDS = ("by", "by-sa", "sa", "nc", "nc-sa", "nd", "nd-nc", "nc-nd", "by-nc", "by-nc-sa", "by-nd",
          "by-nc-nd", "by-nd-nc")  # fmt: skip

_VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")

_ANY_VERSION = "3.0"  # what stands for "1.0 or later" and "all": every reading of them includes it

_PORT = "[a-z]{2}|scotland|igo"  # the law that a version before 4.0 was adapted to

_PATH = re.compile(
    rf"/licen[sc]es/(?P<kind>[a-z-]+)/(?P<version>\d\.\d)(?:/(?P<port>{_PORT}))?"
    r"|/publicdomain/(?P<domain>zero|mark)/1\.0|/licen[sc]es/(?P<certified>publicdomain)"
)

_PAGE = re.compile(r"/(?:(?:deed|legalcode)(?:\.[a-z_-]+)?|rdf)$")  # of a licence, any language

_ID = re.compile(
    r"cc-(?P<kind>[a-z-]+?)-(?:(?P<versions>\d(?:\.\d)?(?:[-,]+\d\.\d)*)(?P<later>\+?)|(?P<all>all))"
    rf"(?:-(?P<port>{_PORT}))?"
    r"(?:-(?:migrated(?:-with-disclaimers)?|stma|generic|unported|international))?"
)

_BETWEEN = re.compile(r"\s+(?:or|and|&)\s+|[;|/]|,(?!\s*\d)")  # the licences in one short name


@dataclass(frozen=True)
class Licence:
    """A licence to show with a photo.

    name: such as "CC BY-SA 4.0", or what the source says where that is not understood; url: its
    web address or ""; refused: why photos under it may not be used here, "" = they may.
    """

    name: str
    url: str
    refused: str = ""


PUBLIC_DOMAIN = Licence("Public domain", f"{_CREATIVE_COMMONS}/publicdomain/mark/1.0/")

CC0 = Licence("CC0 1.0", f"{_CREATIVE_COMMONS}/publicdomain/zero/1.0/")


def licence_of_url(url: str) -> Licence:
    """The licence at a web address of creativecommons.org; others are "not understood".

    Any page of the licence will do: http, no scheme, a deed or legal code in any language.
    """
    said = url.strip()
    if not said:
        return Licence("", "", NO_LICENCE)
    unknown = Licence(said, said if re.match("https?://", said) else "", NOT_UNDERSTOOD)
    try:
        parts = urlsplit(said.lower() if "//" in said else f"//{said.lower()}")
        host = parts.netloc.removeprefix("www.")
    except ValueError:
        return unknown
    found = _PATH.fullmatch(_PAGE.sub("", parts.path.rstrip("/")).rstrip("/"))
    if parts.scheme not in ("", "http", "https") or host != "creativecommons.org" or not found:
        return unknown
    if found["domain"]:
        return CC0 if found["domain"] == "zero" else PUBLIC_DOMAIN
    if found["certified"]:
        return Licence(PUBLIC_DOMAIN.name, f"{_CREATIVE_COMMONS}/licenses/publicdomain/")
    return _creative_commons(found["kind"], found["version"], found["port"]) or unknown


def licence_of_commons(
    code: str, short_name: str, url: str, non_free: str | bool = False
) -> Licence:
    """The licence of a file on Wikimedia Commons.

    Args:
        code: `License`, the machine id, e.g. "cc-by-sa-3.0-de"; "" = none.
        short_name: `LicenseShortName` as plain text, e.g. "CC BY-SA 3.0 de"; "" = none.
        url: `LicenseUrl`; "" = none.
        non_free: `NonFree`: "", "0" and "false" = free.
    """
    said = short_name.strip() or code.strip()
    linked = licence_of_url(url)
    if not said:
        return Licence(linked.name, linked.url, NOT_FREE) if _is_set(non_free) else linked
    named = next(filter(None, map(_licence_of_id, (code, *_BETWEEN.split(short_name)))), None)
    plain = named or Licence(said, linked.url)
    if _is_set(non_free):
        return Licence(plain.name, plain.url, NOT_FREE)
    if refused := _forbidden(f"{code} {short_name}") or _forbidden_by(linked):
        return Licence(plain.name, plain.url, refused)
    if named is None:
        about_cc = re.search(r"\bcc\b|creative commons", said, re.IGNORECASE)
        return linked if about_cc and not linked.refused else Licence(
            said, linked.url, NOT_UNDERSTOOD
        )  # fmt: skip
    if linked.refused or _kind(linked) == _kind(named):  # another page, none, or of this licence
        return named
    if {_kind(linked), _kind(named)} == {_kind(CC0), _kind(PUBLIC_DOMAIN)}:
        return CC0  # both free it; CC0 says so with a text
    return Licence(said, linked.url, CONTRADICTION)


def _is_set(value: str | bool) -> bool:
    return str(value).strip().lower() not in ("", "0", "false", "no")


def _licence_of_id(text: str) -> Licence | None:
    """The licence of a machine id or of one short name; None = not understood."""
    name = re.sub(r"[\s_-]+", "-", text.strip().lower().replace("creative commons", "cc"))
    if name in ("cc0", "cc-0", "cc-zero", "cc0-1.0"):
        return CC0
    if name in ("pd", "cc-pd", "public-domain") or name.startswith("pd-"):
        return PUBLIC_DOMAIN
    found = _ID.fullmatch(name.replace("-,", ",").replace(",-", ","))
    if not found:
        return None
    versions = re.findall(r"\d(?:\.\d)?", found["versions"] or _ANY_VERSION)
    if found["later"]:
        versions.append(_ANY_VERSION)
    newest = max(version if "." in version else f"{version}.0" for version in versions)
    return _creative_commons(found["kind"], newest, found["port"])


def _creative_commons(kind: str, version: str, port: str | None) -> Licence | None:
    if kind not in _KINDS or version not in _VERSIONS:
        return None
    name, url = f"CC {kind.upper()} {version}", f"{_CREATIVE_COMMONS}/licenses/{kind}/{version}/"
    if port and version != "4.0":  # which has no ports
        name += f" {port.title() if port == 'scotland' else port.upper()}"
        url += f"{port}/"
    return Licence(name, url, _forbidden(kind))


def _forbidden(text: str) -> str:
    """Why a licence of this name is refused for NC or ND, "" = it is neither."""
    words = re.sub(r"[\s_-]+", " ", text.lower())
    if re.search(r"\b(nc|non ?commercial)\b", words):
        return NON_COMMERCIAL
    if re.search(r"\b(nd|no ?deriv(s|ative|atives|ative works)?)\b", words):
        return NO_DERIVATIVES
    return ""


def _forbidden_by(licence: Licence) -> str:
    return licence.refused if licence.refused in (NON_COMMERCIAL, NO_DERIVATIVES) else ""


def _kind(licence: Licence) -> str:
    return " ".join(licence.name.split()[:2])  # such as CC BY-SA, without version and port
