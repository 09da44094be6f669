"""What an HTTP answer says: its JSON, its errors, and whether and when to ask again.

Errors of MediaWiki that pass by themselves are `_PASSING`: those that API:Etiquette names, and what
Pywikibot asks again. Wikidata counts the lag of its query service as lag of its own, so that
editing programs pause ("type": "wikibase-queryservice"); it may last for hours and a reader adds
nothing to it, so it is waited for once. Whoever the query service bans reads "You have been banned
until …" in its answer; its HTTP status then is not documented, so every refusal is searched for it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import NetworkError
from ..core.http_reading import plain, retry_after

if TYPE_CHECKING:
    import httpx2

GOES_ON = "nothing is lost: the same command goes on where it stopped"

MAX_WAIT_SECONDS = 900.0  # that a server may ask for; beyond, the command stops and says so

LAG_SECONDS = 5.0  # the least wait after an error `maxlag`

LASTING = ("no-such-entity",)  # errors that are kept as answers, because they stay true

QUERY_SERVICE_LAG = "wikibase-queryservice"

_OF_ALL = ("maxlag", "ratelimited", "readonly", "readonlytext")  # other requests fail alike

_PASSING = (*_OF_ALL, "timeout", "cirrussearch-too-busy-error", "cirrussearch-backend-error")

_STATUSES_THAT_PASS = {408, 425, 429, 500, 502, 503, 504, *range(520, 528)}


class RefusedError(NetworkError):
    """A server answered, but not what was asked for; other requests may succeed all the same.

    status: of HTTP; 0 = the fault is not in the status.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ApiError(RefusedError):
    """An API answered with an error: its code, its text and the id that it names, if any."""

    def __init__(self, message: str, *, code: str, info: str = "", id: str = "") -> None:
        super().__init__(message)
        self.code, self.info, self.id = code, info, id


class LaterError(Exception):
    """A request failed in a way that may pass; never leaves the client.

    error: see `final`. wait: seconds that the server asks for. everyone: other requests of this
    kind wait too. tries: in all, where fewer make sense. single: says nothing of other files at the
    same host.
    """

    def __init__(
        self, error: NetworkError, *, wait: float | None = None, everyone: bool = False,
        tries: int = 100, single: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(str(error))
        self.error, self.wait, self.everyone = error, wait, everyone
        self.tries, self.single = tries, single

    def final(self, kind: str, tries: int) -> NetworkError:
        """What is raised after so many tries of a request of this kind."""
        if self.single and kind != "api":
            return RefusedError(str(self.error))
        also = ", also after waiting" if tries > 1 else ""
        self.error.args = (f"{self.error}{also}; {GOES_ON}",)
        return self.error


@dataclass(frozen=True)
class StreamHead:
    """What an answer to `stream` says. headers: names in lower case. The bytes are start … end − 1
    of `total`. etag: to be given when the rest is fetched later; "" = none that identifies bytes.
    """

    status: int
    headers: Mapping[str, str]
    start: int
    end: int
    total: int
    etag: str


def unpacked(chunks: Iterable[bytes], encodings: list[str], most: int, what: str) -> bytes:
    """A whole body without its content encoding: none, gzip or deflate.

    Raises:
        RefusedError: for several or other encodings, or when it is larger than `most` unpacked.
        LaterError: when it is damaged or incomplete.
    """
    coding = encodings[0] if encodings else "identity"
    if len(encodings) > 1 or coding not in ("identity", "gzip", "x-gzip", "deflate"):
        shown = plain(", ".join(encodings), 60)
        raise RefusedError(f"{what}: the answer is packed as {shown!r}, which was not asked for")
    if coding == "identity":
        return b"".join(chunks)
    parts, size, packer = [], 0, None
    try:
        for chunk in chunks:
            if packer is None:
                packer = zlib.decompressobj(_window(coding, chunk))
            parts.append(packer.decompress(chunk, most + 1 - size))
            size += len(parts[-1])
            if size > most:
                raise RefusedError(f"{what}: the answer is larger than {most:,} bytes unpacked")
    except zlib.error:
        packer = None
    if packer is None or not packer.eof:
        raise LaterError(NetworkError(f"{what}: the answer is damaged or incomplete"))
    if packer.unused_data:
        raise RefusedError(f"{what}: the answer has bytes behind its end")
    return b"".join(parts)


def _window(coding: str, start: bytes) -> int:
    """What zlib must expect: `deflate` comes with the header of zlib or without one."""
    if coding != "deflate":
        return zlib.MAX_WBITS | 16
    with_header = (
        len(start) > 1 and start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    )
    return zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS


def told_wait(response: httpx2.Response, host: str, least: float = 1.0) -> float | None:
    """As `retry_after`, at least `least`. Raises NetworkError when it is longer than we wait."""
    wait = retry_after(response)
    if wait is not None and wait > MAX_WAIT_SECONDS:
        long = f"{wait / 3600:.1f} hours" if wait < 1e7 else "very long"
        raise NetworkError(
            f"{host} asks to wait {long} (Retry-After), which is longer than the "
            f"{MAX_WAIT_SECONDS / 60:.0f} minutes that a command waits; give the same command "
            "after that: it goes on where it stopped"
        )
    return None if wait is None else max(wait, least)


def refusal(response: httpx2.Response, text: str, what: str, kind: str) -> Exception:
    """The exception for an answer with an HTTP status that is no success.

    text: the beginning of its body. kind: "api", or "media" or "files" of a single file, beside
    which others may be fine.
    """
    host, status = response.url.host, response.status_code
    said = plain(re.sub(r"<[^>]*>", " ", text), 120)
    answer = f"HTTP {status}" + (f": {said}" if said else "")
    if ban := re.search(r"banned until ([^,<\n]{1,60})", text):
        return NetworkError(
            f"{host} has banned this address until {plain(ban[1], 60)}, because of too many "
            "requests; give the same command again after that: it goes on where it stopped"
        )
    if "TimeoutException" in text:
        return RefusedError(
            f"{what}: the query takes {host} too long; ask for a smaller area or fewer landmarks",
            status,
        )
    if status == 403 and kind != "files":  # a store answers so where a file is missing
        return NetworkError(
            f"{what}: {host} refuses ({answer}); is --contact an address of yours, and may this "
            "network reach Wikimedia?"
        )
    if status in _STATUSES_THAT_PASS:
        limited = status == 429
        asked = "asks for fewer requests" if limited else "cannot answer now"
        return LaterError(
            NetworkError(f"{what}: {host} {asked} ({answer})"),
            wait=told_wait(response, host),
            everyone=status in (429, 503),
            single=not limited,
        )
    return RefusedError(f"{what}: {host} refuses ({answer})", status)


def api_error(
    value: dict[str, Any], response: httpx2.Response | None, what: str
) -> Exception | None:
    """The exception for an API's answer that holds an error; None where it holds none.

    response: None = the answer was stored.
    """
    if "error" not in value:
        return None
    error = value["error"] if isinstance(value["error"], dict) else {}
    code, info, id = (plain(str(error.get(key) or ""), 200) for key in ("code", "info", "id"))
    made = ApiError(
        f"{what}: the API answers {code or 'an error'}" + (f" ({info})" if info else ""),
        code=code, info=info, id=id,
    )  # fmt: skip
    if response is None or not (code in _PASSING or code.startswith("internal_api_error")):
        return made
    least = LAG_SECONDS if code == "maxlag" else 1.0
    return LaterError(
        NetworkError(str(made)) if code in _OF_ALL else made,
        wait=told_wait(response, response.url.host, least), everyone=True,
    )  # fmt: skip


def stream_head(
    response: httpx2.Response, start: int, end: int | None, etag: str, what: str
) -> StreamHead:
    """What the answer to a request for the bytes start … end − 1 gives.

    S3 documents ranges; that it keeps to If-Range was seen by others but is not documented, so the
    ETag is compared too.

    Raises RefusedError unless these bytes come, of the file with this ETag ("" = of any).
    """
    host, headers = response.url.host, {k.lower(): v for k, v in response.headers.items()}
    found_tag, length = headers.get("etag", ""), headers.get("content-length", "")
    known = found_tag if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', found_tag) else ""
    if etag and known != etag:
        raise RefusedError(f"{what}: the file at {host} has changed; fetch it from its beginning")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(f"{what}: {host} sends the file packed, which was not asked for")
    if response.status_code == 200:
        if start or end is not None:
            raise RefusedError(f"{what}: {host} sends the whole file, not the part asked for")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            raise RefusedError(f"{what}: {host} does not say how long the file is")
        return StreamHead(200, headers, 0, int(length), int(length), known)
    given = headers.get("content-range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", given)
    first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    wanted = total if end is None else min(end, total)
    if (first, last + 1) != (start, wanted) or (length and length != str(wanted - start)):
        raise RefusedError(
            f"{what}: asked for bytes {start}-{'' if end is None else end - 1}, but {host} sends "
            f"{plain(given, 60) or 'no Content-Range'}"
        )
    return StreamHead(206, headers, start, wanted, total, known)
