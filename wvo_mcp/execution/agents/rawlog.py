"""The raw stream of a worker, kept in a file: redacted as it is written, bounded, never in the way of who reads the stream."""

import json
import os
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

from wvo_mcp.domain.redaction import redact

LIMIT = 16 << 20
_HEAD = 1 << 20
_LEFT_OUT = b'{"wvo":"left out","bytes":%d}'


class RawLog:
    """One file of at most `limit` bytes, to which a log that is there already counts. When it would become larger, its middle
    is left out: its beginning stays, and the newest half of the rest. A full disk costs the log, not the worker. Its first
    line names the driver, which knows what the others mean."""

    def __init__(self, path: Path, driver: str, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._head = min(_HEAD, limit // 4)
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._left_out = 0
        self._changed = threading.Condition()
        self._closed = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._write_all, name="worker-log", daemon=True)
        self._thread.start()
        self.write(json.dumps({"wvo": "log", "driver": driver}).encode())

    def write(self, line: bytes) -> None:
        """A line without its end. Returns at once: what comes faster than the disk takes it is left out, and counted."""
        with self._changed:
            if self._size + len(line) > self._limit // 4:
                self._left_out += len(line)
                return
            if self._left_out:
                self._waiting.append(_LEFT_OUT % self._left_out)
                self._left_out = 0
            self._waiting.append(line)
            self._size += len(line) + 1
            self._changed.notify()

    def close(self) -> None:
        """What was written is in the file when it returns. It may wait for the disk."""
        with self._changed:
            if self._left_out:
                self._waiting.append(_LEFT_OUT % self._left_out)
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _write_all(self) -> None:
        try:
            file = self._opened()
            while lines := self._next():
                text = b"".join(redact(line.decode(errors="replace")).encode() + b"\n" for line in lines)
                if file.tell() + len(text) > self._limit:
                    file = self._shortened(file)
                file.write(text)
                file.flush()
            file.close()
        except OSError:
            while self._next():  # it cannot be written any more, and nobody is to wait for it
                pass

    def _opened(self) -> BinaryIO:
        self._path.touch(mode=0o600)
        file = self._path.open("r+b")
        file.seek(0, os.SEEK_END)
        return file

    def _shortened(self, file: BinaryIO) -> BinaryIO:
        """The same without its middle, as a new file in its place: who follows the old one sees that it is another."""
        size = file.tell()
        file.seek(0)
        head = file.read(self._head)
        head = head[: head.rfind(b"\n") + 1]
        file.seek(max(len(head), size - (self._limit - self._head) // 2))
        tail = file.read().partition(b"\n")[2]
        file.close()
        new = self._path.with_name(f"{self._path.name}.new")
        new.touch(mode=0o600)
        new.write_bytes(head + _LEFT_OUT % (size - len(head) - len(tail)) + b"\n" + tail)
        new.replace(self._path)
        return self._opened()

    def _next(self) -> list[bytes]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            lines = list(self._waiting)
            self._waiting.clear()
            self._size = 0
            return lines
