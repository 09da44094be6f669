"""Behind a proxy: whose forwarded headers are believed, client addresses, the path prefix."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ..core.errors import OptionError
from .api_errors import ApiError

Scope = MutableMapping[str, Any]

UNIX = "unix"  # the address of a client on a Unix socket

# Headers that a proxy in front adds; no browser and no client of an API sends them.
FORWARDED = (
    "x-forwarded-for", "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
    "x-forwarded-server", "x-forwarded-port", "x-forwarded-prefix", "x-client-ip",
    "cf-connecting-ip", "true-client-ip", "fly-client-ip",
)  # fmt: skip

OWN_NAMES = ("v1", "static", "livez", "readyz", "metrics", "openapi.json")  # first in a path

IPV6_CALLER_BITS = 64  # one line of one customer has as many addresses as that leaves

_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')

_PAIR = re.compile(r'(?:^|;)\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,\s"]+)')


def ip_of(text: str) -> str | None:
    """The IP address in `203.0.113.7`, `203.0.113.7:80`, `[2001:db8::1]:80`; None = no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)  # as a socket for both versions tells IPv4
    return str(mapped or found)


def caller_of(address: str) -> str:
    """What limits apply to: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, IPV6_CALLER_BITS), strict=False))
    except ValueError:
        return address


@dataclass(frozen=True)
class TrustedProxies:
    """The proxies whose forwarded headers are believed.

    Args:
        networks: of their addresses.
        unix: whether clients on a Unix socket are proxies.
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, values: Sequence[str]) -> TrustedProxies:
        """IP addresses, networks or "unix". Raises OptionError."""
        networks = []
        for value in values:
            if value.strip().lower() == UNIX:
                continue
            try:
                networks.append(ipaddress.ip_network(value.strip(), strict=False))
            except ValueError:
                raise OptionError(
                    f"trusted proxy {value!r} given; expected an IP address such as 10.0.0.5, a "
                    "network such as 10.0.0.0/24, or unix"
                ) from None
        return cls(tuple(networks), any(value.strip().lower() == UNIX for value in values))

    def __contains__(self, address: str) -> bool:
        """Whether an address is that of a trusted proxy."""
        if address == UNIX:
            return self.unix
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.networks)

    def believe(self, scope: Scope) -> None:
        """Put the client's address, the scheme and the host of a request into its scope.

        From the right, because each proxy adds the address that it saw there: the first address
        that is no trusted proxy is the client, whatever the client itself has sent. Where there is
        `X-Forwarded-For`, `Forwarded` is not read, because a proxy that adds the one may let the
        other through.
        """
        headers = Headers(scope=scope)
        peer = peer_of(scope)
        scope["client"] = (peer, 0)
        if peer not in self:
            return
        hops = _listed(headers, "x-forwarded-for")
        schemes, hosts = _listed(headers, "x-forwarded-proto"), _listed(headers, "x-forwarded-host")
        if not hops and (elements := _elements(headers)):
            hops = [element.get("for", "") for element in elements]
            schemes = [element.get("proto", "") for element in elements]
            hosts = [element.get("host", "") for element in elements]
        elif not hops:
            hops = _listed(headers, "x-real-ip")
        client, passed = peer, 0
        for hop in reversed(hops):
            address = ip_of(hop) if client in self else None
            if address is None:  # "unknown", or what a client claims
                break
            client, passed = address, passed + 1
        scope["client"] = (client, 0)
        scheme = _of_hop(schemes, hops, passed).lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        host = _of_hop(hosts, hops, passed)
        if _HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [(b"host", host.encode("ascii")), *others]


def _listed(headers: Headers, name: str) -> list[str]:
    """The comma-separated parts of all headers of a name."""
    parts = ",".join(headers.getlist(name)).split(",")
    return [part.strip() for part in parts if part.strip()]


def _elements(headers: Headers) -> list[dict[str, str]]:
    """The elements of `Forwarded` (RFC 7239), each as its pairs."""
    return [
        {name.lower(): re.sub(r"\\(.)", r"\1", value.strip('"')) for name, value in pairs}
        for element in _ELEMENT.findall(",".join(headers.getlist("forwarded")))
        if (pairs := _PAIR.findall(element.strip()))
    ]


def _of_hop(values: Sequence[str], hops: Sequence[str], passed: int) -> str:
    """The value that the proxy of the client has set, else the last one."""
    if not values:
        return ""
    return values[-passed] if passed and len(values) == len(hops) else values[-1]


def peer_of(scope: Scope) -> str:
    """The address at the other end of the connection."""
    client = scope.get("client")
    return (ip_of(client[0]) or str(client[0])) if client else UNIX


def forwarded_without_keys(scope: Scope) -> ApiError | None:
    """The refusal of a forwarded request; None = it was not forwarded.

    Somebody has put a proxy in front of a server that was started for this machine alone, so that
    anybody who reaches the proxy could use the server and change its gallery.
    """
    sent = {name.decode("latin-1") for name, _ in scope["headers"]}
    found = next((name for name in FORWARDED if name in sent), None)
    if found is None:
        return None
    peer = peer_of(scope)
    try:
        local = peer == UNIX or ipaddress.ip_address(peer).is_loopback
    except ValueError:
        local = False
    proxy = peer if local else "ADDRESS_OF_THE_PROXY"
    return ApiError(
        403,
        "forwarded_without_keys",
        f"A proxy forwards requests to this server ({found}), which has no keys: anybody who "
        "reaches the proxy could change the gallery.",
        f"Start the server with --keys FILE, or, where the proxy controls access, with "
        f"--trusted-proxy {proxy}.",
    )


def check_root_path(value: str) -> str:
    """A prefix of all paths without its last slash; "" = none. Raises OptionError."""
    prefix = value.strip().rstrip("/")
    if not prefix:
        return ""
    prefix = prefix if prefix.startswith("/") else f"/{prefix}"
    if not _ROOT_PATH.fullmatch(prefix):
        raise OptionError(
            f"root path {value!r} given; expected a path such as /landmarks, of letters, digits, "
            "'.', '_', '~' and '-'"
        )
    if prefix.split("/")[1] in OWN_NAMES:
        raise OptionError(
            f"root path {value!r} given; expected one that does not begin as the server's own "
            f"paths do ({', '.join(OWN_NAMES)})"
        )
    return prefix


def enter_root_path(scope: Scope, root_path: str) -> str | None:
    """Put a request under the prefix, whether the proxy has removed it from the path or not.

    Returns:
        Where to redirect the client, because only the last slash of the prefix is missing;
        None = nowhere.
    """
    path, raw_path = scope["path"], scope.get("raw_path") or b""
    if path == root_path:
        query = scope.get("query_string", b"").decode("latin-1")
        return f"./{root_path.rpartition('/')[2]}/" + (f"?{query}" if query else "")
    if not path.startswith(f"{root_path}/"):
        scope["path"], scope["raw_path"] = root_path + path, root_path.encode() + raw_path
    scope["root_path"] = root_path
    return None


def route_path(scope: Scope) -> str:
    """The path of a request without the prefix."""
    path, root_path = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root_path) or "/"


def relative_redirect(location: str, scope: Scope) -> str:
    """A redirect to the same path with or without its last slash, relative to that path.

    So it is right whatever scheme, host and prefix the client has sent the request to.
    """
    asked: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    wanted = urlsplit(location)
    query = f"?{wanted.query}" if wanted.query else ""
    if wanted.path.endswith("/") and not asked.endswith("/"):
        return f"./{asked.rpartition('/')[2]}/{query}"
    if asked.endswith("/") and not wanted.path.endswith("/"):
        if asked.endswith("//"):  # clients disagree on what is above an empty name
            return wanted.path + query
        return f"../{asked[:-1].rpartition('/')[2]}{query}"
    return location


def authority_of(host: str, scheme: str) -> tuple[str, str]:
    """Host name and port of "example.org:8443", with the port of the scheme where none is given."""
    if host.startswith("["):
        name, _, port = host.partition("]")
        name += "]"
        port = port.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    return name.lower().rstrip("."), port or {"http": "80", "https": "443"}.get(scheme, "")
