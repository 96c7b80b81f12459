"""A connection whose statements are answered at once: the loop is not asked whether an answer has come.

Half of what a simulated statement cost was the way through the loop and its selector. Here the request is written and
the answer read in one go, and a BEGIN or COMMIT travels with the statement after it. That reaches into asyncpg: a
statement's coroutine is driven by hand, and what comes from the socket is handed to the protocol as the loop would do.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Coroutine
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

import asyncpg

Answer = TypeVar("Answer")
ANSWER_SECONDS_MAX: Final = 60
_READ_BYTES: Final = 1 << 18
Control = Literal["BEGIN", "COMMIT"]
_DONE: Final = MappingProxyType({
    "BEGIN": b"C\x00\x00\x00\x0aBEGIN\x00Z\x00\x00\x00\x05T",
    "COMMIT": b"C\x00\x00\x00\x0bCOMMIT\x00Z\x00\x00\x00\x05I",
})  # fmt: skip
"""What the server says when it has begun or committed, and is ready for more."""


class DirectConnection:
    """Wraps an open connection, which nobody else may use until `release`."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        inner: Any = connection
        self._transport: Any = inner._transport  # noqa: SLF001 - asyncpg shows neither
        self._protocol = inner._protocol  # noqa: SLF001
        self._socket: socket.socket = self._transport.get_extra_info("socket")._sock  # noqa: SLF001
        self._before = b""
        self._expected = b""
        self._transport.pause_reading()
        self._socket.setblocking(True)
        patience = struct.pack("ll", ANSWER_SECONDS_MAX, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._transport.write = self._write

    def release(self) -> None:
        """Give it back to the loop."""
        del self._transport.write
        self._socket.setblocking(False)
        self._transport.resume_reading()

    def precede(self, control: Control) -> None:
        """Let the next statement be preceded by this, in the same packet."""
        text = control.encode() + b"\x00"
        self._before += b"Q" + struct.pack("!i", len(text) + 4) + text
        self._expected += _DONE[control]

    def withdraw(self) -> None:
        """What should have preceded the next statement is not sent."""
        self._before = self._expected = b""

    def answer(self, statement: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a statement to its end. Raises what the statement raises, and TimeoutError."""
        try:
            while True:
                waited_for = statement.send(None)
                while waited_for is not None and not waited_for.done():
                    self._protocol.data_received(self._read())
        except StopIteration as ended:
            answer: Answer = ended.value
            return answer

    def _write(self, data: bytes) -> None:
        if self._before:
            data, self._before = self._before + bytes(data), b""
        self._socket.sendall(data)

    def _read(self) -> bytes:
        read = self._receive()
        if self._expected:
            while len(read) < len(self._expected):
                read += self._receive()
            if not read.startswith(self._expected):
                raise RuntimeError(f"The database did not begin or commit: {read[:200]!r}")
            # The protocol knows nothing of what went before its statement.
            read, self._expected = read[len(self._expected) :], b""
        return read

    def _receive(self) -> bytes:
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            raise TimeoutError("The database does not answer.") from None
        if not received:
            raise ConnectionResetError("The database has closed the connection.")
        return received
