"""From bytes on disk to YAML text, and from problems in it to one error that names file, line and field."""

import codecs
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvo_mcp.errors import InvalidInput

SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file. `line` and `column` count from 1; `field` is a path such as
    `epics[0].tasks[3].priority`, empty for the file as a whole; `message` says what was expected."""

    line: int
    column: int | None
    field: str
    message: str

    def details(self) -> dict[str, Any]:
        """{line, column, field, problem}, JSON-ready."""
        return {"line": self.line, "column": self.column, "field": self.field, "problem": self.message}


def refusal(subject: str, name: str, problems: Sequence[Problem], count: int) -> InvalidInput:
    """The error for a broken file: the first problem in the message, the first SHOWN_PROBLEMS in `details.problems`,
    and how many there are in `details.count`. `subject` is what the file is about."""
    shown = problems[:SHOWN_PROBLEMS]
    first = shown[0]
    problem = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    return InvalidInput(
        subject,
        problem,
        message=f"{name}:{first.line}: {problem}{more}",
        file=name,
        problems=[each.details() for each in shown],
        count=count,
    )


def read_at_most(path: Path, most: int, subject: str, name: str) -> bytes | None:
    """None without a file. One byte more than `most` is read at most. Raises InvalidInput for a folder or a pipe, and
    OSError."""
    try:
        # Opening a pipe for reading would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(
            subject, "is not a regular file", message=f"{name} is not a regular file; expected a text file."
        )
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most + 1)


def decoded(data: bytes, most: int, subject: str, name: str) -> tuple[str, bool]:
    """The text, and whether it began with a byte order mark. Raises InvalidInput: too large, or not UTF-8."""
    if len(data) > most:
        problem = f"expected at most {most / 2**20:g} MiB, found more"
        raise refusal(subject, name, [Problem(1, None, "", problem)], 1)
    marked = data.startswith(codecs.BOM_UTF8)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode(), marked
    except UnicodeDecodeError as error:
        bad = error.start + (len(codecs.BOM_UTF8) if marked else 0)
        line, begin = data.count(b"\n", 0, bad) + 1, data.rfind(b"\n", 0, bad) + 1
        column = len(data[begin:bad].decode(errors="replace")) + 1
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        problem = f"expected UTF-8, found {'UTF-16' if wide else f'the byte 0x{data[bad]:02X}'}; save the file as UTF-8"
        raise refusal(subject, name, [Problem(line, column, "", problem)], 1) from None
