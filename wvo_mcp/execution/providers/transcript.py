"""What a Claude Code session used, from the transcript that it writes as it goes: one JSON line for each part of a message.

A transcript may be large, cut off, or hostile: lines that are too long or not understood are
skipped, and nothing of the conversation is kept but counts, the model and the id of the message.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from wvo_mcp.domain.providers.signals.reading import Message, Part

MOST_BYTES = 512_000_000
"""Read at one time; the rest is read after the next turn."""
MOST_MESSAGES = 20_000
_LINE = 4_000_000
_MOST_TOKENS = 100_000_000
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_SUBAGENTS = 200


def files(transcript: Path) -> list[Path]:
    """It, and those of its subagents, which the program keeps in a folder beside it."""
    beside = transcript.with_suffix("") / "subagents"
    try:
        return [transcript, *sorted(beside.glob("*.jsonl"))[:_SUBAGENTS]]
    except OSError:
        return [transcript]


def read(path: Path, begin: int) -> Part:
    """What follows the first `begin` bytes; all of it where the file is shorter than that. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Part({}, begin)
        begin = begin if begin <= status.st_size else 0
        file.seek(begin)
        found: dict[str, Message] = {}
        ends = begin
        for line, end in _lines(file, begin):
            message = _message(line, end)
            if message is not None:
                # In the order of `ends`: a count that is cut off continues there.
                before = found.pop(message.id, None)
                found[message.id] = message if before is None else message.after(before)
            ends = end
            if len(found) >= MOST_MESSAGES:
                break
    return Part(found, ends)


def _lines(file: BinaryIO, begin: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines with the position behind them; of one that is too long nothing."""
    end, too_long = begin, False
    while end - begin < MOST_BYTES and (line := file.readline(_LINE)):
        end += len(line)
        if not line.endswith(b"\n"):
            too_long = True
            continue
        yield (b"" if too_long else line), end
        too_long = False


def _message(line: bytes, end: int) -> Message | None:
    if b'"usage"' not in line or b'"assistant"' not in line:
        return None
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    message = _of(entry, "message")
    message_id, model, usage = _of(message, "id"), _of(message, "model"), _of(message, "usage")
    if _of(entry, "type") != "assistant" or not isinstance(message_id, str) or not _ID.fullmatch(message_id):
        return None
    values = (_of(usage, f"{name}_tokens") for name in ("input", "cache_creation_input", "output", "cache_read_input"))
    counts = [one if type(one) is int and 0 < one <= _MOST_TOKENS else 0 for one in values]
    if not any(counts):
        return None
    fresh, written, out, cached = counts
    return Message(message_id, model[:200] if isinstance(model, str) else "", fresh + written, out, cached, end)


def _of(entry: Any, name: str) -> Any:
    return cast("dict[str, Any]", entry).get(name) if isinstance(entry, dict) else None
