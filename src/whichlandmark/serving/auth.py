"""Authentication and authorization: API keys, scopes, cross-site and Host header checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from socket import gethostname
from urllib.parse import urlsplit

from starlette.requests import Request

from .api_errors import ApiError, cross_site
from .engine import Engine
from .keys import Key, Scope, digest_of
from .options import ServeOptions, allows_origin
from .proto_json import is_google_path
from .proxies import authority_of, caller_of, peer_of

KEYS_RETRY_SECONDS = 5  # Retry-After while the key file cannot be read

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """name: of the key, or the IP address without keys; rate: photos per minute, 0 = no limit."""

    name: str
    rate: int


def engine_of(request: Request) -> Engine:
    """The engine of the app that handles this request."""
    engine: Engine = request.app.state.engine
    return engine


def require_scope(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A FastAPI dependency that returns the caller if its key has this scope.

    It runs before the body is read, so that a refused request costs little.
    """

    async def check(request: Request) -> Caller:
        engine = engine_of(request)
        check_same_site(request)
        caller = authenticate(engine, request, scope)
        request.state.caller = caller.name
        request.state.key = caller.name if engine.keys else ""
        return caller

    check.scope = scope  # type: ignore[attr-defined]  # for the published schema
    return check


def authenticate(engine: Engine, request: Request, scope: Scope) -> Caller:
    """The caller. Raises ApiError 401 without a known key, 403 when the key lacks the scope."""
    address = caller_of(peer_of(request.scope))
    if engine.keys is None:
        return Caller(address, engine.options.rate)
    given = key_in_request(request)
    if given is None:
        raise ApiError(
            401,
            "unauthorized",
            "This server requires an API key.",
            "Send the header Authorization: Bearer KEY.",
        )
    key = _known_key(engine, address, given)
    if not key.allows(scope):
        raise ApiError(
            403,
            "forbidden",
            f"This request needs a key with the scope {scope!r}.",
            "Ask the operator for one.",
        )
    return Caller(key.name, engine.options.rate if key.rate is None else key.rate)


def _known_key(engine: Engine, address: str, given: str) -> Key:
    """The stored key. Raises ApiError 401, 429 after many wrong ones, 503 without a key file."""
    assert engine.keys is not None
    digest = digest_of(given)
    engine.wrong_keys.check(address, digest)
    key = engine.keys.find(given)
    if engine.keys.trouble:
        raise ApiError(
            503,
            "keys_unreadable",
            "The server cannot check keys now, because its key file cannot be read.",
            "Tell the operator; the log of the server says why.",
            retry=KEYS_RETRY_SECONDS,
        )
    if key is None:
        engine.wrong_keys.count(address)
        raise ApiError(
            401,
            "wrong_key",
            "This server does not know the API key.",
            "Is it complete? It may have been removed.",
        )
    engine.wrong_keys.remember(address, digest)
    return key


def key_in_request(request: Request) -> str | None:
    """The key in `Authorization`, or where Google's clients send it; None = no key."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    google = request.headers.get("x-goog-api-key")
    if google is None and is_google_path(request.url.path):
        google = request.query_params.get("key")
    return google or None


def check_same_site(request: Request) -> None:
    """Raises ApiError 403 when a page of another site sends anything but a safe method."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site", "none")
    given = request.headers.get("origin")
    if allows_origin(engine_of(request).options.cors, given):
        return
    origin, host = urlsplit(given or ""), request.headers.get("host", "")
    own = not given or (
        bool(origin.netloc)
        and authority_of(origin.netloc, origin.scheme) == authority_of(host, origin.scheme)
    )
    if site not in ("none", "same-origin") or not own:
        raise cross_site(given)


def allowed_hosts(options: ServeOptions) -> frozenset[str] | None:
    """Host names that a server without keys accepts, as a protection against DNS rebinding.

    None = any, because keys protect the server already.
    """
    if options.keys:
        return None
    names = {"localhost", "127.0.0.1", "::1", options.host, *options.names}
    if options.insecure:  # as `whichlandmark serve` shows it to the operator
        names.add(gethostname())
    return frozenset(host_name(name) for name in names)


def host_allowed(options: ServeOptions, hosts: frozenset[str] | None, header: str) -> bool:
    """Whether a Host header is accepted. hosts: of `allowed_hosts`.

    With `insecure` every IP address is, because another site cannot be reached by one of ours.
    """
    name = host_name(header)
    if hosts is None or name in hosts:
        return True
    try:
        return options.insecure and bool(ip_address(name))
    except ValueError:
        return False


def host_name(header: str) -> str:
    """Host header without its port: "[::1]:8000" → "::1", "localhost:8000" → "localhost"."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    if header.count(":") > 1:  # an IPv6 address as an option gives it
        return header.lower()
    return header.partition(":")[0].lower().rstrip(".")
