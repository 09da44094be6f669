"""Who asks, and may they? Keys, scopes and rates; a browser on another site is never let in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from .api_errors import ApiError
from .engine import Engine
from .keys import Scope, find
from .options import ServeOptions

SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """name: of the key, or where the request came from; rate: photos a minute, 0 = any."""

    name: str
    rate: int


def engine_of(request: Request) -> Engine:
    """The engine behind the app."""
    engine: Engine = request.app.state.engine
    return engine


def need(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, whose key has this scope. It runs before a body is read."""

    async def check(request: Request) -> Caller:
        engine = engine_of(request)
        same_site(request)
        caller = known(engine, request, scope)
        request.state.key = caller.name if engine.keys else ""
        return caller

    return check


def known(engine: Engine, request: Request, scope: Scope) -> Caller:
    """The caller. Raises ApiError 401 without a key that is known, 403 when it is not enough."""
    if not engine.keys:
        address = request.client.host if request.client else "-"
        return Caller(address, engine.options.rate)
    given = given_key(request)
    if given is None:
        raise ApiError(401, "unauthorized", "This server asks for a key.",
                       "Send the header Authorization: Bearer KEY.")  # fmt: skip
    key = find(engine.keys, given)
    if key is None:
        raise ApiError(401, "unauthorized", "This key is not known.", "Was it removed?")
    if not key.allows(scope):
        raise ApiError(403, "forbidden", f"This needs a key of scope {scope}; yours may read.",
                       "Ask the operator for one.")  # fmt: skip
    return Caller(key.name, engine.options.rate if key.rate is None else key.rate)


def given_key(request: Request) -> str | None:
    """From Authorization, or as Google's clients send it."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    google = request.headers.get("x-goog-api-key")
    if google is None and request.url.path.endswith("images:annotate"):
        google = request.query_params.get("key")
    return google or None


def same_site(request: Request) -> None:
    """Raises ApiError 403 for a change or a question that another site's page sends."""
    if request.method in SAFE:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in ("none", "same-origin") or (origin and urlsplit(origin).netloc != host):
        raise ApiError(403, "cross_site", "Pages of other sites may not ask this server.",
                       "Open this server's own page.")  # fmt: skip


def allowed_hosts(options: ServeOptions) -> frozenset[str] | None:
    """Names that a loopback server answers to, so that no foreign name is made to point at it.

    None = any: a server with keys is protected by them.
    """
    if options.keys or options.insecure:
        return None
    names = {"localhost", "127.0.0.1", "::1", options.host, *options.names}
    return frozenset(name.strip("[]").lower() for name in names)


def host_name(header: str) -> str:
    """ "[::1]:8000" → "::1"; "localhost:8000" → "localhost"."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
