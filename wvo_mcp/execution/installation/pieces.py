"""What is ours in one file: put in by `init`, taken out by `init --remove`."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.document import Document
from wvo_mcp.execution.installation.draft import File
from wvo_mcp.execution.providers.parse import packaged_text

SERVER = "wvo"
"""The name that clients know the server by; their tool names begin with it."""

COMMAND = "wvo-mcp"
STOP_HOOK = f"{COMMAND} stop-hook"
ALLOW_RULE = f"mcp__{SERVER}"


def is_ours(entry: Any) -> bool:
    """True when the entry starts this program: by name, by path, with uv, or as a module. Other settings are free."""
    if not isinstance(entry, Mapping):
        return False
    fields = cast("Mapping[str, Any]", entry)
    args: Any = fields.get("args", [])
    words = [fields.get("command"), *(cast("Sequence[Any]", args) if isinstance(args, list) else ())]
    return any(isinstance(word, str) and PurePath(word).name in (COMMAND, "wvo_mcp") for word in words)


class Foreign(Exception):
    """An entry named like ours that starts something else; `shown` is its file."""

    def __init__(self, shown: str, entry: Any) -> None:
        super().__init__(shown)
        self.shown = shown
        self.entry = entry


@dataclass(frozen=True)
class Piece(ABC):
    """`what` is a noun phrase for what is put into the file."""

    file: File
    what: str

    @abstractmethod
    def put(self, text: str | None, notes: list[str]) -> str:
        """The text with it; the same text where it is there. Raises InvalidInput where that is not safe, Foreign."""

    @abstractmethod
    def take(self, text: str, notes: list[str]) -> str:
        """The text without it; empty when nothing else was there. Raises InvalidInput where that is not safe."""


@dataclass(frozen=True)
class Entry(Piece):
    """The server's entry in a client's configuration. `replace`: also where another program's is."""

    servers: str
    entry: Mapping[str, Any]
    replace: bool = False

    def put(self, text: str | None, notes: list[str]) -> str:
        document = Document(text or "", self.file.shown)
        present = document.get(self.servers, SERVER)
        if present is not None and not is_ours(present) and not self.replace:
            raise Foreign(self.file.shown, present)
        if not is_ours(present):
            document.put((self.servers, SERVER), dict(self.entry))
        return document.text

    def take(self, text: str, notes: list[str]) -> str:
        document = Document(text, self.file.shown)
        if is_ours(document.get(self.servers, SERVER)):
            document.remove(self.servers, SERVER)
        return document.text


@dataclass(frozen=True)
class ClaudeSettings(Piece):
    """The allow rule, the approval of the server and the stop hook."""

    def put(self, text: str | None, notes: list[str]) -> str:
        document = Document(text or "", self.file.shown)
        document.append(("permissions", "allow"), ALLOW_RULE)
        document.append(("enabledMcpjsonServers",), SERVER)
        if not _mentions(document.get("hooks", "Stop"), STOP_HOOK):
            document.append(("hooks", "Stop"), {"hooks": [{"type": "command", "command": STOP_HOOK, "timeout": 10}]})
        notes += [
            f"{self.file.shown} also lists {ALLOW_RULE} under permissions.{refusal}, which is stronger."
            for refusal in ("deny", "ask")
            if _mentions(document.get("permissions", refusal), ALLOW_RULE)
        ]
        if _mentions(document.get("disabledMcpjsonServers"), SERVER):
            notes.append(
                f"{self.file.shown} lists {SERVER!r} under disabledMcpjsonServers: Claude Code will not start it."
            )
        return document.text

    def take(self, text: str, notes: list[str]) -> str:
        document = Document(text, self.file.shown)
        document.remove_from(("permissions", "allow"), ALLOW_RULE)
        document.remove_from(("enabledMcpjsonServers",), SERVER)
        groups = document.get("hooks", "Stop")
        if isinstance(groups, list) and groups:
            left = [one for group in cast("list[Any]", groups) if (one := _without_hook(group)) is not None]
            document.put(("hooks", "Stop"), left) if left else document.remove("hooks", "Stop")
        return document.text


def _without_hook(group: Any) -> Any:
    """The group of hooks without ours; None when nothing else was in it."""
    fields = cast("dict[str, Any]", group if isinstance(group, dict) else {})
    hooks = cast("list[Any]", listed if isinstance(listed := fields.get("hooks"), list) else [])
    left = [hook for hook in hooks if not _is_stop_hook(hook)]
    if left == hooks:
        return cast("Any", group)
    return {**fields, "hooks": left} if left else None


def _is_stop_hook(hook: Any) -> bool:
    return isinstance(hook, dict) and cast("dict[str, Any]", hook).get("command") == STOP_HOOK


@dataclass(frozen=True)
class Sample(Piece):
    """A file of its own, for people to change: what they changed stays."""

    content: str

    def put(self, text: str | None, notes: list[str]) -> str:
        return self.content if text is None else text

    def take(self, text: str, notes: list[str]) -> str:
        if text == self.content:
            return ""
        notes.append(f"{self.file.shown} stays: it is not as init wrote it.")
        return text


@dataclass(frozen=True)
class Section(Piece):
    """Lines between two marks in a text file, whose line ends they take; what is around them belongs to people."""

    body: str
    marks: tuple[str, str] = ("<!-- wvo-mcp:start -->", "<!-- wvo-mcp:end -->")

    def put(self, text: str | None, notes: list[str]) -> str:
        """Replaced in place, or added at the end."""
        text = text or ""
        newline = "\r\n" if "\r\n" in text else "\n"
        section = newline.join([self.marks[0], *self.body.strip().split("\n"), self.marks[1]])
        lines = text.split("\n")
        place = self._place(lines)
        if place is None:
            gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
            return text + gap + section + newline
        start, end = place
        tail = "\r" if lines[end].endswith("\r") else ""
        return "\n".join([*lines[:start], section + tail, *lines[end + 1 :]])

    def take(self, text: str, notes: list[str]) -> str:
        """Also without the empty line that `put` left before them."""
        lines = text.split("\n")
        place = self._place(lines)
        if place is None:
            return text
        start, end = place
        if start and not lines[start - 1].strip():
            start -= 1
        return "\n".join([*lines[:start], *lines[end + 1 :]])

    def _place(self, lines: list[str]) -> tuple[int, int] | None:
        """The lines of the two marks; None without them."""
        found = [(i, line.strip()) for i, line in enumerate(lines) if line.strip() in self.marks]
        if not found:
            return None
        if tuple(mark for _, mark in found) != self.marks:
            problem = f"the marks {self.marks[0]!r} and {self.marks[1]!r} must be there once each, in this order"
            error = InvalidInput(
                self.file.shown, problem, message=f"{self.file.shown}: {problem}. Nothing was written."
            )
            error.hint = "Remove the stray mark, then run wvo-mcp init again."
            raise error
        return found[0][0], found[1][0]


def providers_text(path: str | None) -> str:
    """The packaged providers.yaml, with what is not on this machine turned off. `path` is where programs are searched for,
    as PATH has it; None for PATH itself."""
    text = packaged_text()
    for kind in (ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI, ProviderKind.OLLAMA):
        if shutil.which(kind.value, path=path) is None:
            line = f"    kind: {kind}\n"
            off = f"{line}    enabled: false   # not found on this machine; take this line out when it is there\n"
            text = text.replace(line, off, 1)
    return text


def _mentions(value: Any, text: str) -> bool:
    """True when a string anywhere in the value contains the text."""
    return text in json.dumps(value)
