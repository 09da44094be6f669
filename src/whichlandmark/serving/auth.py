"""Authentication and authorization: API keys, scopes, cross-site and Host header checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from .api_errors import ApiError, cross_site
from .engine import Engine
from .keys import Scope, find_key
from .options import ServeOptions, allows_origin

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
        request.state.key = caller.name if engine.keys else ""
        return caller

    check.scope = scope  # type: ignore[attr-defined]  # for the published schema
    return check


def authenticate(engine: Engine, request: Request, scope: Scope) -> Caller:
    """The caller. Raises ApiError 401 without a known key, 403 when the key lacks the scope."""
    if not engine.keys:
        address = request.client.host if request.client else "-"
        return Caller(address, engine.options.rate)
    given = key_in_request(request)
    if given is None:
        raise ApiError(
            401,
            "unauthorized",
            "This server requires an API key.",
            "Send the header Authorization: Bearer KEY.",
        )
    key = find_key(engine.keys, given)
    if key is None:
        raise ApiError(401, "unauthorized", "Unknown API key.", "It may have been removed.")
    if not key.allows(scope):
        raise ApiError(
            403,
            "forbidden",
            f"This request needs a key with the scope {scope!r}.",
            "Ask the operator for one.",
        )
    return Caller(key.name, engine.options.rate if key.rate is None else key.rate)


def key_in_request(request: Request) -> str | None:
    """The key in `Authorization`, or where Google's clients send it; None = no key."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    google = request.headers.get("x-goog-api-key")
    if google is None and request.url.path.endswith("images:annotate"):
        google = request.query_params.get("key")
    return google or None


def check_same_site(request: Request) -> None:
    """Raises ApiError 403 when a page of another site sends anything but a safe method."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    if allows_origin(engine_of(request).options.cors, origin):
        return
    host = request.headers.get("host", "")
    if site not in ("none", "same-origin") or (origin and urlsplit(origin).netloc != host):
        raise cross_site(origin)


def allowed_hosts(options: ServeOptions) -> frozenset[str] | None:
    """Host names that a loopback server accepts, as a protection against DNS rebinding.

    None = any, because keys (or whatever stands behind `insecure`) protect the server already.
    """
    if options.keys or options.insecure:
        return None
    names = {"localhost", "127.0.0.1", "::1", options.host, *options.names}
    return frozenset(name.strip("[]").lower() for name in names)


def host_name(header: str) -> str:
    """Host header without its port: "[::1]:8000" → "::1", "localhost:8000" → "localhost"."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
