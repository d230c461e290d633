"""For programs that end with each turn: `python -I -S turns.py serve SOCKET`, and `turns.py ask SOCKET` as their hook.

`serve` lives as long as a worker, so that the worker keeps one pid and one stream over many turns. Messages on stdin, one
a line: {"turn": {"argv", "text", "guard"}} runs the program with the text on its stdin, and kills it when a line has the
guard in it before a hook has asked; {"answer": {"id", "output"}};
{"interrupt": true}; {"finish": true}: it has said its last, and is ended when it does not leave. Its stdout is passed on
line by line; between its lines come {"wvo": "asks", "id", "input"} and {"wvo": "over", "code", "stderr"}.

`ask` gives what is on its stdin to `serve`, and prints the answer. Without an answer it exits with 2, and says so: that is
a refusal. Only the standard library is imported, by both.
"""

import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any, BinaryIO

_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""Bytes of a line that are held back; the rest of a longer one is passed on as it comes."""
_QUESTION = 8 << 20
_STDERR = 1 << 16
_LEAVE_SECONDS, _TERM_SECONDS = 5.0, 3.0


class Turns:
    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(16)
        self._program: subprocess.Popen[bytes] | None = None
        self._stderr = bytearray()
        self._line = bytearray()
        self._guard = b""
        self._inside = False
        """A long line is being passed on: nothing may come between."""
        self._held: list[bytes] = []
        self._questions: dict[int, socket.socket] = {}
        self._asking: dict[socket.socket, bytearray] = {}
        self._asked = 0
        self._typed = bytearray()
        self._steps: list[tuple[float, int]] = []
        """Signals for the program that is to end, and when."""

    def serve(self) -> None:
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _woken)
        self._selector.register(0, selectors.EVENT_READ, self._read_stdin)
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)
        self._selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, 512))
        self._open = True
        while self._open:
            wait = max(0.0, self._steps[0][0] - time.monotonic()) if self._steps else None
            for key, _ in self._selector.select(wait):
                if key.fd in self._selector.get_map():  # else it was closed by the one before
                    key.data()
            if self._steps and self._steps[0][0] <= time.monotonic():
                self._signal(self._steps.pop(0)[1])
            if self._program is not None and self._program.poll() is not None:
                self._over(self._program)
        self._signal(signal.SIGTERM)

    def _read_stdin(self) -> None:
        data = os.read(0, _CHUNK)
        if not data:
            self._open = False
        *lines, rest = (bytes(self._typed) + data).split(b"\n")
        self._typed = bytearray(rest)
        for line in lines:
            message = json.loads(line)
            if "turn" in message:
                self._begin(**message["turn"])
            elif "answer" in message:
                self._reply(**message["answer"])
            elif self._program is not None:
                now, first = time.monotonic(), signal.SIGINT if "interrupt" in message else signal.SIGTERM
                begin = now if "interrupt" in message else now + _LEAVE_SECONDS
                self._steps = [(begin, first), (begin + _TERM_SECONDS, signal.SIGKILL)]

    def _begin(self, argv: list[str], text: str, guard: str) -> None:
        self._guard = guard.encode()
        with tempfile.TemporaryFile() as given:
            given.write(text.encode(errors="replace"))
            given.seek(0)
            try:
                program = subprocess.Popen(  # noqa: S603 - the driver's
                    argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            except OSError as error:
                self._say({"wvo": "over", "code": 127, "stderr": f"{argv[0]}: {error.strerror}"})
                return
        self._program, self._stderr = program, bytearray()
        for pipe, take in ((program.stdout, self._pass_on), (program.stderr, self._keep)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ, functools.partial(self._pump, pipe, take))

    def _pump(self, pipe: IO[bytes], take: Callable[[bytes], None]) -> bool:
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if data:
            take(data)
        else:
            self._selector.unregister(pipe)
            pipe.close()
        return bool(data)

    def _pass_on(self, data: bytes) -> None:
        self._line += data
        end = self._line.rfind(b"\n") + 1
        if not end and len(self._line) <= _LONGEST:
            return
        whole = bytes(self._line[:end]) if end else bytes(self._line)
        del self._line[: len(whole)]
        self._inside = not end
        if self._guard and self._guard in whole:
            self._signal(signal.SIGKILL)
            self._keep(b"\nIts hooks are turned off, so it cannot be asked for leave, and is not run.")
        _write(whole)
        if not self._inside:
            held, self._held = self._held, []
            for each in held:
                _write(each)

    def _keep(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-_STDERR]

    def _over(self, program: "subprocess.Popen[bytes]") -> None:
        """It has ended; what it left in its pipes is read, whoever else holds them open."""
        for pipe, take in ((program.stdout, self._pass_on), (program.stderr, self._keep)):
            if pipe is not None and not pipe.closed:
                until = time.monotonic() + 1.0
                while self._pump(pipe, take) and time.monotonic() < until:
                    pass
                if not pipe.closed:
                    self._selector.unregister(pipe)
                    pipe.close()
        if self._line or self._inside:
            self._pass_on(b"\n")
        self._program, self._steps = None, []
        for number in list(self._questions):
            self._reply(number, None)
        self._say({"wvo": "over", "code": program.returncode, "stderr": self._stderr.decode(errors="replace")})

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.setblocking(False)
        self._asking[connection] = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        heard = self._asking.get(connection)
        try:
            data = connection.recv(_CHUNK)
        except OSError:
            data, heard = b"", None
        if data and heard is not None and len(heard) <= _QUESTION:
            heard += data
            return
        self._selector.unregister(connection)
        self._asking.pop(connection, None)
        try:
            question = json.loads(heard or b"")
        except (ValueError, RecursionError):
            connection.close()
            return
        self._asked, self._guard = self._asked + 1, b""
        self._questions[self._asked] = connection
        self._say({"wvo": "asks", "id": self._asked, "input": question})

    def _reply(self, id: int, output: Any) -> None:
        connection = self._questions.pop(id, None)
        if connection is not None:
            with contextlib.suppress(OSError), connection:
                connection.setblocking(True)
                connection.sendall(b"" if output is None else json.dumps(output).encode())

    def _say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        if self._inside:
            self._held.append(line)
        else:
            _write(line)

    def _signal(self, number: int) -> None:
        if self._program is not None:
            with contextlib.suppress(ProcessLookupError):
                self._program.send_signal(number)


def _woken(_number: int, _frame: object) -> None:
    """Only to be woken."""


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def ask(path: str, given: BinaryIO) -> int:
    answer = b""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(given.read(_QUESTION))
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(_CHUNK):
            answer += data
    if not answer:
        sys.stderr.write("Nobody could be asked whether this is allowed, so it is not.\n")
        return 2
    sys.stdout.write(answer.decode())
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        sys.exit(ask(sys.argv[2], sys.stdin.buffer))
    Turns(sys.argv[2]).serve()
