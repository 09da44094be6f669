"""Start Firefox for Playwright, which drives it by WebDriver BiDi, through a relay of its socket.

Run as a program in the place of Firefox. When Playwright opens a page, it sends one command that
Firefox's release versions do not know, the emulation of media features, and gives up when it is
refused: the relay replaces it by one that does nothing. Playwright has no touch for this protocol:
with TOUCH in the environment, the pointer that it moves and presses is a finger instead of a mouse.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

UNKNOWN = b"emulation.setMediaFeaturesOverride"
MOUSE, FINGER = b'"pointerType":"mouse"', b'"pointerType":"touch"'
TOUCH = "WHICHLANDMARK_FIREFOX_TOUCH"
LISTENING = re.compile(rb"WebDriver BiDi listening on ws://127\.0\.0\.1:(\d+)")


def main() -> None:
    """sys.argv: the path of Firefox, then its arguments."""
    firefox = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    signal.signal(signal.SIGTERM, lambda *_: firefox.terminate())
    assert firefox.stdout
    for line in firefox.stdout:
        if found := LISTENING.search(line):
            port = relayed(int(found[1]))
            line = line.replace(found[1], str(port).encode())
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
    sys.exit(firefox.wait())


def relayed(port: int) -> int:
    """A port whose connections are passed on to another port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=send_commands, args=(client, server), daemon=True).start()
            threading.Thread(target=send_replies, args=(server, client), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def send_commands(client: socket.socket, server: socket.socket) -> None:
    """Pass on what Playwright sends: the HTTP request of a WebSocket, then its frames."""
    try:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        host = b"\r\nHost: 127.0.0.1:%d" % server.getpeername()[1]  # Firefox checks it
        server.sendall(re.sub(rb"(?i)\r\nHost: [^\r]*", host, head))
        while True:
            server.sendall(next_frame(client))
    except OSError:  # one side was closed
        server.close()


def next_frame(client: socket.socket) -> bytes:
    """The next frame of a WebSocket, changed as this module's description says."""
    first, length = exactly(client, 2)
    length &= 127
    if length > 125:
        length = int.from_bytes(exactly(client, 2 if length == 126 else 8), "big")
    mask = exactly(client, 4)
    data = masked(exactly(client, length), mask)
    if UNKNOWN in data:
        data = json.dumps({**json.loads(data), "method": "session.status", "params": {}}).encode()
    if os.environ.get(TOUCH):
        data = data.replace(MOUSE, FINGER)
    n = len(data)
    if n < 126:
        size = bytes([128 | n])
    else:
        size = b"\xfe" + n.to_bytes(2, "big") if n < 65536 else b"\xff" + n.to_bytes(8, "big")
    return bytes([first]) + size + mask + masked(data, mask)


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = client.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def masked(data: bytes, mask: bytes) -> bytes:
    """The data of a frame combined with its mask, which also undoes it."""
    n = len(data)
    key = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big")


def send_replies(server: socket.socket, client: socket.socket) -> None:
    try:
        while part := server.recv(65536):
            client.sendall(part)
    except OSError:  # one side was closed
        pass
    client.close()


if __name__ == "__main__":
    main()
