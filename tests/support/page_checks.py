"""A server process on a copy of a recognizer folder, and what is measured on a page of it:

findings of axe-core, sizes of what is pressed, width, and whether an answer is in sight.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def served(recognizer: Path, *options: str) -> Iterator[str]:
    """The address of a server on a copy of a folder, so that the folder stays as it is."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        copy = shutil.copytree(recognizer, Path(folder) / "copy.wl")
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        command = [sys.executable, "-m", "whichlandmark.cli", "serve", str(copy), "--port", port]
        command += ["--rate", "100000", *options]
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/livez", server, Path(folder) / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, timeout: float = 60) -> None:
    """Wait until a server answers. Exits with the end of its log when it does not."""
    until = time.monotonic() + timeout
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=2).close()
        time.sleep(0.2)
    sys.exit(f"the server did not start:\n{log.read_text()[-2000:]}")


def with_axe(context: Any) -> Any:
    """Inject axe-core into every page of a context, regardless of its Content-Security-Policy."""
    import axe_playwright_python

    source = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    context.add_init_script(path=source)
    return context


def axe(page: Any) -> list[str]:
    """What axe-core finds: rules of every impact, also its best practices."""
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:120]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


# Each visible element that can be pressed: its size with that of its label, and whether it is a
# link within a line of text. The contents of a page behind an open dialog are left out.
TARGETS = r"""() => {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  const wanted = "a[href], button, input:not([type=hidden]), select, textarea, summary, " +
    "[role=button], [role=slider], [tabindex='0']:not([role=region]):not(main)";
  const area = (node) => {
    const boxes = [node, ...(node.labels ?? [])].map((n) => n.getBoundingClientRect());
    const kept = boxes.filter((b) => b.width > 0 && b.height > 0);
    const [left, top] = ["left", "top"].map((side) => Math.min(...kept.map((b) => b[side])));
    const [right, low] = ["right", "bottom"].map((side) => Math.max(...kept.map((b) => b[side])));
    return { width: right - left, height: low - top };
  };
  const kind = (node) => node.tagName.toLowerCase() + (node.id && !/\d/.test(node.id) ?
    `#${node.id}` : [...node.classList].map((name) => `.${name}`).join(""));
  const shown = (node) => {
    const box = node.getBoundingClientRect();
    const seen = { checkOpacity: true, checkVisibilityCSS: true };
    return node.checkVisibility(seen) && box.width > 1 && box.height > 1 && box.bottom > 0 &&
      !node.disabled && !node.closest("[aria-hidden=true]");
  };
  return [...top.querySelectorAll(wanted)].filter(shown).map((node) => {
    const style = getComputedStyle(node);
    const words = node.parentElement.textContent.trim().length;
    const text = node.tagName === "A" && style.display === "inline" &&
      words > node.textContent.trim().length;
    const name = node.getAttribute("aria-label") || node.textContent.trim() || node.id;
    const parent = node.parentElement.closest("[class], [id]") ?? node.parentElement;
    return { ...area(node), text, kind: `${kind(parent)} ${kind(node)}`, name: name.slice(0, 40) };
  });
}"""


def small_targets(page: Any, least: float = 44) -> list[str]:
    """What is smaller than `least` CSS px either way, the smallest one of each kind.

    Links within a line of text are left out, as the guidelines do (WCAG 2.5.5, 2.5.8).
    """
    found: dict[str, tuple[float, str]] = {}
    for target in page.evaluate(TARGETS):
        side = min(target["width"], target["height"])
        if target["text"] or side >= least - 0.5:
            continue
        if target["kind"] not in found or side < found[target["kind"]][0]:
            size = f"{target['width']:.0f} x {target['height']:.0f} px, as {target['name']!r}"
            found[target["kind"]] = side, size
    return [f"{kind} is {size}" for kind, (_, size) in found.items()]


def too_wide(page: Any) -> list[str]:
    """What scrolls sideways: the window, or an open dialog."""
    found = page.evaluate("""() => [document.documentElement, ...document.querySelectorAll(
      "dialog[open]")].map((n) => [n.id || n.tagName, n.scrollWidth, n.clientWidth])""")
    return [f"{name}: {wide} px in {room}" for name, wide, room in found if wide > room]


IN_SIGHT = """(node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  if (!box.width || box.top < 0 || box.bottom > innerHeight || box.right > innerWidth) return false;
  const at = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return node.contains(at) || at.contains(node);
}"""


def in_sight(locator: Any) -> bool:
    """Whether the words of an element are in the window, not covered, without scrolling."""
    return bool(locator.evaluate(IN_SIGHT))


# Lighthouse's mobile profile, as it is applied in the browser: a slow 4G, a CPU a quarter as fast.
SLOW = {"offline": False, "latency": 562.5, "downloadThroughput": 1474.56 * 1024 / 8,
        "uploadThroughput": 675 * 1024 / 8}  # fmt: skip
CPU_RATE = 4

PAINTS = """() => new Promise((done) => {
  const found = { lcp: 0, cls: 0 };
  new PerformanceObserver((list) => {
    found.lcp = list.getEntries().at(-1).startTime;
  }).observe({ type: "largest-contentful-paint", buffered: true });
  new PerformanceObserver((list) => {
    for (const shift of list.getEntries()) if (!shift.hadRecentInput) found.cls += shift.value;
  }).observe({ type: "layout-shift", buffered: true });
  new PerformanceObserver((list) => {
    found.blocked = list.getEntries().reduce((sum, e) => sum + Math.max(0, e.duration - 50), 0);
  }).observe({ type: "longtask", buffered: true });
  setTimeout(() => {
    const [fcp] = performance.getEntriesByName("first-contentful-paint");
    done({ blocked: 0, ...found, fcp: fcp.startTime });
  }, 200);
})"""


def first_load(context: Any, address: str) -> dict[str, Any]:
    """A first visit by the mobile profile of Lighthouse, until nothing is loaded any more.

    requests: their paths with the bytes that came, headers included; bytes: in all, of files that
    the server compresses as they travelled; ready, fcp, lcp, blocked: ms; cls: layout shift.
    """
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW)
    session.send("Emulation.setCPUThrottlingRate", {"rate": CPU_RATE})
    paths: dict[str, str] = {}
    requests: dict[str, int] = {}

    def sent(event: dict[str, Any]) -> None:
        paths[event["requestId"]] = event["request"]["url"].removeprefix(address)[:80]

    def came(event: dict[str, Any]) -> None:
        path = paths.get(event["requestId"], "")
        if not path.startswith(("blob:", "data:")):
            requests[path] = int(event["encodedDataLength"])

    session.on("Network.requestWillBeSent", sent)
    session.on("Network.loadingFinished", came)
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    ready = page.evaluate("() => performance.now()")
    page.wait_for_load_state("networkidle")
    paints = page.evaluate(PAINTS)
    page.close()
    return {**paints, "ready": ready, "requests": requests, "bytes": sum(requests.values())}
