"""A small HTTP server that answers as the test writes down, in recorded KIS shapes."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, dict[str, Any] | None, dict[str, str]]
Script = Callable[[str, dict[str, Any], dict[str, str]], Answer]


class ScriptedServer:
    """Answers ``(status, body, headers)`` of ``script(path, fields, headers)``; keeps what came.

    A body of ``None`` drops the connection without an answer.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # 40 ms an answer otherwise.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._answer(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self._answer(self.path, json.loads(self.rfile.read(length)))

            def _answer(self, path: str, fields: dict[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((path, fields, headers))
                status, body, more = outer.script(path, fields, headers)
                if body is None:
                    self.close_connection = True
                    return
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**more, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def count(self, path_end: str) -> int:
        """Return how many requests came for paths that end so."""
        return sum(path.endswith(path_end) for path, _, _ in self.requests)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
