"""Providers on this machine, for the tests of the gateways. Decides how a provider may misbehave; no test in here."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class HttpProvider:
    """An API that answers every POST by `answer` and keeps what it was asked."""

    address: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: Answer = field(default=lambda handler: says(handler, {}))


def says(handler: BaseHTTPRequestHandler, body: object, *, status: int = 200, kind: str = "application/json") -> None:
    """Answer with JSON, or with whatever bytes are given."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def http_provider() -> Iterator[HttpProvider]:
    """The API on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            provider.requests.append(json.loads(body))
            provider.headers.append(dict(self.headers))
            provider.answer(self)

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is its own."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A caller that went away is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    provider = HttpProvider(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailServer:
    """A mail server. `replies` replaces the reply to a command (by its first word, or `connect`, `body`)."""

    port: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    silent_at: str = ""
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    """The server on a free port of 127.0.0.1."""
    state = MailServer(**options)
    stopping = threading.Event()

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                if state.tls is not None and state.tls_at_once:
                    self.request = state.tls.wrap_socket(self.request, server_side=True)
                self._talk()
            except OSError:
                return
            finally:
                self.request.close()

        def _talk(self) -> None:
            lines = self.request.makefile("rb")
            self._reply("connect", "220 ready")
            while line := lines.readline():
                text = line.decode("ascii", "replace").strip()
                word = text.split(" ")[0].upper()
                state.commands.append(text)
                if word == "DATA":
                    self._reply("DATA", "354 go on")
                    if "DATA" not in state.replies:
                        sent = iter(lines.readline, b".\r\n")
                        state.mails.append(b"".join(part.removeprefix(b".") for part in sent))
                        self._reply("body", "250 taken")
                elif word == "STARTTLS" and state.tls is not None:
                    self._reply("STARTTLS", "220 now")
                    self.request = state.tls.wrap_socket(self.request, server_side=True)
                    lines = self.request.makefile("rb")
                elif word == "QUIT":
                    self._reply("QUIT", "221 bye")
                    return
                else:
                    extensions = "250-local\r\n250-STARTTLS\r\n250 AUTH PLAIN" if word == "EHLO" else "250 fine"
                    self._reply(word, "235 welcome" if word == "AUTH" else extensions)

        def _reply(self, word: str, usual: str) -> None:
            if word == state.silent_at:
                stopping.wait(5)
                raise ConnectionAbortedError
            self.request.sendall(state.replies.get(word, usual).encode() + b"\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def slowly(seconds: float) -> Answer:
    """An answer that comes too late."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        says(handler, {})

    return answer
