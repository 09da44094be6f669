"""Where an Immich server is, and the API key for it: from a file, and never shown."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from ..core.disks import read_error, refuse_special
from ..core.errors import DataError, OptionError
from ..core.http_reading import plain

_LOCAL_NAMES = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost", ".ts.net")

_SHARED = ip_network("100.64.0.0/10")  # of providers, and of private networks such as Tailscale


@dataclass(frozen=True)
class ApiKey:
    """An API key of Immich, and the file that it stands in."""

    text: str = field(repr=False)
    file: Path

    @classmethod
    def read(cls, file: Path) -> ApiKey:
        """The key in a file.

        Raises:
            DataError: when the file cannot be read.
            OptionError: when it holds no key.
        """
        try:
            refuse_special(file)
            with open(file, "rb") as opened:
                data = opened.read(4097)
        except OSError as error:
            raise DataError(read_error(file, error)) from None
        text = data.decode("utf-8-sig", "replace").strip()
        if not re.fullmatch(r"[\x21-\x7e]{8,512}", text):
            found = "it is empty" if not text else "it has something else in it"
            raise OptionError(
                f"{file}: expected an API key of Immich in one line, but {found}; "
                "Immich makes keys under Account Settings > API Keys"
            )
        return cls(text, file)

    def exposed(self) -> str:
        """A warning where everybody on this machine may read the file; "" = nobody else may."""
        with suppress(OSError):
            mode = stat.S_IMODE(os.stat(self.file).st_mode)
            if sys.platform != "win32" and mode & stat.S_IROTH:
                return (
                    f"{self.file}: every user of this machine may read the API key in it (mode "
                    f"{mode:03o}); `chmod 600 {self.file}` keeps it to you"
                )
        return ""


def server_address(given: str) -> str:
    """The address of a server without its /api, as http://nas:2283 or https://host/photos.

    Raises OptionError for what is no such address.
    """
    shown = plain(re.sub(r"//[^/@]*@", "//…@", given), 200)
    try:
        parts = urlsplit(given.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        hint = "" if "//" in given else f"; did you mean http://{shown}?"
        raise OptionError(
            f"--url {shown}: expected the address of Immich, such as http://nas:2283{hint}"
        )
    if parts.username is not None or parts.query or re.search(r"[\s\\]|\.\.", given.strip()):
        raise OptionError(
            f"--url {shown}: expected an address without a user, a password, a query and blanks"
        )
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    path = re.sub(r"/(api|photos|auth/login)$", "", path)  # as copied from a browser
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def is_local(host: str) -> bool:
    """Whether a host is on this machine or the own network, as far as its name tells."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.lower().endswith(_LOCAL_NAMES)
    return address.is_private or address.is_loopback or address.is_link_local or address in _SHARED


def in_clear(address: str) -> str:
    """A warning where the key would cross foreign networks unencrypted; "" = it does not."""
    parts = urlsplit(address)
    if parts.scheme == "https" or is_local(parts.hostname or ""):
        return ""
    return (
        f"{address}: without https the API key and the photos can be read by everybody on the way; "
        "give an https:// address where Immich has one"
    )
