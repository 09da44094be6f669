"""Put nginx with TLS and a prefix before a server, and check what clients get through it.

    python benchmarks/serve_proxy.py [RECOGNIZER]

Needs nginx and openssl (Debian: `apt-get install nginx openssl`); without them it says so and ends
with 0. It starts a server with keys, --root-path and --trusted-proxy on a tiny gallery (or a copy
of RECOGNIZER), and nginx on a free port with a certificate of its own, with the location of
docs/serving.md: once as it stands, so that the server sees the prefix, and once with the prefix
stripped. Through it the page, its files, the API, redirects, openapi.json, HEAD, a post as the page
sends it and one as another site would, a photo file of 50 MB, and the limits of two addresses are
checked. Exit code 1 when a check fails.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin

from serve_small_bodies import BOUNDARY, FORM, PART, photo, tiny_recognizer
from served import serving

PREFIX, NAME = "/landmarks", "maps.example"

CONFIG = """
daemon off;
worker_processes 1;
pid {place}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {name};
        ssl_certificate {place}/cert.pem;
        ssl_certificate_key {place}/key.pem;
{location}
    }}
}}
"""


class Reply(NamedTuple):
    """headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Proxied(NamedTuple):
    """nginx on a port of this machine, in front of a server whose keys are read and write."""

    port: int
    read: str
    write: str

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, source: str = "127.0.0.1",
        **headers: str,
    ) -> Reply:  # fmt: skip
        """Send a request through nginx. headers: with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(source, 0), context=context
        )
        try:
            host = {"Host": f"{NAME}:{self.port}"}
            connection.request(method, path, body, {**host, **given})
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, found, reply.read())
        finally:
            connection.close()


def location_of_docs(port: int, *, stripped: bool) -> str:
    """The nginx location in docs/serving.md, for a server on a port."""
    docs = Path(__file__).parents[1] / "docs" / "serving.md"
    found = re.search(r"```nginx\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{docs}: no nginx location"
    text = found[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    target = f"proxy_pass http://127.0.0.1:{port};"
    assert target in text
    return text.replace(target, target.replace(";", "/;")) if stripped else text


@contextmanager
def nginx(place: Path, port: int, location: str) -> Iterator[None]:
    """nginx with a certificate of its own, while the block runs."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         f"/CN={NAME}", "-keyout", place / "key.pem", "-out", place / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    config = place / "nginx.conf"
    config.write_text(CONFIG.format(place=place, port=port, name=NAME, location=location))
    process = subprocess.Popen(["nginx", "-c", config, "-p", place, "-e", "stderr"])
    try:
        for _ in range(100):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def form(data: bytes) -> bytes:
    head = (PART % ("photos", '; filename="a.jpg"') + "\r\n").encode()
    return head + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def checks(at: Proxied) -> Iterator[tuple[str, bool, object]]:
    """(what is checked, whether it holds, what was found)"""
    jpeg = io.BytesIO()
    photo(1).save(jpeg, "JPEG", quality=95)
    ask, base = at.ask, f"{at.origin}{PREFIX}/"
    read, write = ({"Authorization": f"Bearer {key}"} for key in (at.read, at.write))

    bare = ask("GET", PREFIX)
    to = urljoin(f"{at.origin}{PREFIX}", bare.headers.get("location", ""))
    yield (
        "the prefix without its slash leads to the page",
        (to, bare.status // 100) == (base, 3),
        to,
    )
    page = ask("GET", f"{PREFIX}/")
    yield "the page", page.status == 200 and b"<!doctype html>" in page.body, page.status
    links = re.findall(r'(?:src|href)="([^"#:]+)"', page.body.decode())
    for link in links:
        url = urljoin(base, link)
        found = ask("GET", url.removeprefix(at.origin))
        yield f"its file {link}", url.startswith(base) and found.status == 200, found.status
    yield "it has files", len(links) >= 2, links
    head = ask("HEAD", f"{PREFIX}/")
    same = head.headers.get("content-type") == page.headers["content-type"]
    yield "HEAD of the page", (head.status, head.body, same) == (200, b"", True), head.status
    for path in ("livez", "readyz", "v1/config"):
        yield path, ask("GET", f"{PREFIX}/{path}").status == 200, path

    schema = json.loads(ask("GET", f"{PREFIX}/openapi.json").body)
    url = schema["servers"][0]["url"]
    yield "openapi.json: the server's URL", urljoin(base, url).rstrip("/") == base[:-1], url
    refused = ask("GET", f"{PREFIX}/v1/landmarks")
    yield "the API without a key", refused.status == 401, refused.status
    listed = ask("GET", f"{PREFIX}/v1/landmarks", **read)
    yield "the API with a key", listed.status == 200, listed.status
    entry = json.loads(listed.body)["landmarks"][0]
    small = ask(
        "GET", urljoin(base, entry["thumbnail"].lstrip("/")).removeprefix(at.origin), **read
    )
    yield "a thumbnail, joined to the base URL", small.body[:3] == b"\xff\xd8\xff", small.status
    for path in ("/v1/config/", "/livez/?a=b"):
        moved = ask("GET", PREFIX + path)
        to = urljoin(at.origin + PREFIX + path, moved.headers.get("location", ""))
        wanted = (at.origin + PREFIX + path).replace("/?", "?").rstrip("/")
        yield f"the redirect of {path}", to == wanted, moved.headers.get("location")

    typed = {"Content-Type": FORM, **read}
    own = {"Origin": at.origin, "Sec-Fetch-Site": "same-origin", **typed}
    sent = form(jpeg.getvalue())
    answered = ask("POST", f"{PREFIX}/v1/recognize", sent, **own)
    yield "a photo, as the page sends it", answered.status == 200, answered.body[:200]
    other = ask("POST", f"{PREFIX}/v1/recognize", sent, **{**own, "Origin": "https://evil.example"})
    yield "a photo from another site's page", other.status == 403, other.status
    huge = form(jpeg.getvalue() + bytes(50_000_000))
    large = ask("POST", f"{PREFIX}/v1/recognize", huge, **typed)
    yield "a photo file of 50 MB", large.status == 200, (large.status, large.body[:200])
    added = ask("POST", f"{PREFIX}/v1/landmarks/{quote('a/b c')}/photos", sent,
                **{**typed, **write})  # fmt: skip
    yield "a photo added", added.status == 200, added.body[:200]

    wrong = {"Authorization": "Bearer wl_wrong"}
    statuses = [ask("GET", f"{PREFIX}/v1/landmarks", source="127.3.0.1", **wrong).status
                for _ in range(30)]  # fmt: skip
    yield "wrong keys slow down their address", statuses[-1] == 429, statuses[-1]
    claim = {**wrong, "X_Forwarded_For": "198.51.100.9"}
    claimed = ask("GET", f"{PREFIX}/v1/landmarks", source="127.3.0.1", **claim)
    yield "whatever it claims to be", claimed.status == 429, claimed.status
    others = ask("GET", f"{PREFIX}/v1/landmarks", source="127.3.0.2", **wrong)
    yield "and no other address", others.status == 401, others.status


def run(recognizer: Path, place: Path, *, stripped: bool) -> int:
    """Print one line for each check; returns how many failed."""
    from whichlandmark.serving.keys import add_key

    place.mkdir()
    keys, failed = place / "keys.json", 0
    given = [add_key(keys, scope, scope) for scope in ("read", "write")]
    options = ["--keys", str(keys), "--root-path", PREFIX, "--trusted-proxy", "127.0.0.1",
               "--log-addresses"]  # fmt: skip
    with serving(recognizer, *options) as server:
        port = free_port()
        with nginx(place, port, location_of_docs(server.port, stripped=stripped)):
            for name, holds, found in checks(Proxied(port, *given)):
                failed += not holds
                print(f"{'ok    ' if holds else 'FAILED'} {name}{'' if holds else f': {found!r}'}")
        time.sleep(0.2)
        logged = {json.loads(line).get("address") for line in server.log}
        holds = {"127.3.0.1", "127.3.0.2"} <= logged and "198.51.100.9" not in logged
        print(f"{'ok    ' if holds else 'FAILED'} the log has the addresses of the clients")
    return failed + (not holds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recognizer", type=Path, nargs="?")
    options = parser.parse_args()
    missing = [name for name in ("nginx", "openssl") if shutil.which(name) is None]
    if missing:
        print(f"skipped, because there is no {' and no '.join(missing)} on this machine")
        return
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        recognizer = options.recognizer or tiny_recognizer(Path(place))
        for stripped in (False, True):
            print(f"-- nginx with TLS, the prefix {PREFIX} {'stripped' if stripped else 'kept'}")
            failed += run(recognizer, Path(place, f"nginx-{stripped}"), stripped=stripped)
    print(f"{failed} checks failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
