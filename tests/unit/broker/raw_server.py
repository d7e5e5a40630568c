"""A server that answers with bytes, or breaks the connection in a chosen way."""

import socket
import struct
import threading
from collections.abc import Callable

# Given the bytes to send, the connection goes on; ``None`` closes it, ``RESET`` resets it, and
# what follows ``TRICKLE`` is sent byte by byte.
RESET = b"\0reset"
HANG = b"\0hang"
TRICKLE = b"\0trickle"
Reply = bytes | None


def http(status: int, body: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """Return an HTTP answer; ``length`` may lie about the body."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class RawServer:
    """Keeps the request lines that arrived and answers as ``reply(path)`` says."""

    def __init__(self, reply: Callable[[str], Reply], *, close_after: bool = False) -> None:
        self.paths: list[str] = []
        self.connections = 0
        # Released once for each connection that is closed.
        self.closed = threading.Semaphore(0)
        self._reply = reply
        self._close_after = close_after
        self._done = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self, path_end: str) -> int:
        """Return how many requests came for paths that end so."""
        return sum(path.endswith(path_end) for path in self.paths)

    def close(self) -> None:
        """Stop listening."""
        self._done.set()
        # Closing alone would leave the thread in ``accept`` and the port taken.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while not self._done.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            if self._done.is_set():
                connection.close()
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._answer(connection)
        finally:
            self.closed.release()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                length = 0
                while (header := stream.readline().strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                stream.read(length)
                path = line.split()[1].decode().partition("?")[0]
                self.paths.append(path)
                answer = self._reply(path)
                if answer == HANG:
                    self._done.wait(5)
                if answer == RESET:
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                if answer in (None, RESET, HANG):
                    return
                if answer.startswith(TRICKLE):
                    self._trickle(connection, answer.removeprefix(TRICKLE))
                    return
                connection.sendall(answer)
                if self._close_after:
                    # Without a word of it in the answer, as an idle connection ends.
                    return

    def _trickle(self, connection: socket.socket, answer: bytes) -> None:
        head, end, content = answer.partition(b"\r\n\r\n")
        connection.sendall(head + end)
        for byte in content:
            if self._done.wait(0.1):
                return
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
