"""A TCP proxy that cuts connections at random: before, within and after a request, and within its reply."""

from __future__ import annotations

import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable

FATES = ("refused", "request lost", "request cut", "reply lost", "reply cut")
"""Where a connection ends: at once · after the request, which goes nowhere · with half of it sent on · when the server
has replied, of which nothing comes back · in the middle of the reply."""


class CuttingProxy:
    """Passes each connection (one HTTP request) on to `port`; `share` of them meet one of FATES.

    Example:
        >>> with CuttingProxy(lambda: server.port, share=0.1, seed=1) as proxy: ask(proxy.port, ...)
    """

    def __init__(self, upstream: Callable[[], int], share: float, seed: int) -> None:
        self._upstream, self._share, self._random = upstream, share, random.Random(seed)
        self._lock, self.cuts = threading.Lock(), Counter[str]()
        self._door = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            fate = self._random.choice(FATES) if self._random.random() < self._share else ""
            self.cuts[fate or "passed"] += 1
        with client:
            client.settimeout(60)
            try:
                self._pass(client, fate)
            except OSError:
                return  # either side is gone: to the other that is one more cut

    def _pass(self, client: socket.socket, fate: str) -> None:
        if fate == "refused":
            return
        request = _request(client)
        if not request or fate == "request lost":
            return
        port = self._upstream()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as server:
            if fate == "request cut":
                server.sendall(request[: len(request) // 2])
                return
            server.sendall(request)
            reply = _request(server)  # a reply is framed as a request is
        if fate == "reply lost":
            return
        client.sendall(reply[: len(reply) // 2] if fate == "reply cut" else reply)


def _request(peer: socket.socket) -> bytes:
    """Head and body of one message; empty when the peer left before."""
    told = b""
    while b"\r\n\r\n" not in told:
        piece = peer.recv(65536)
        if not piece:
            return b""
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    wanted = int(found.group(1)) if found else 0
    while len(body) < wanted:
        piece = peer.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body
