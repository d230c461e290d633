"""What is ours in one file: put in by `init`, taken out by `init --remove`."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from wvo_mcp.errors import Conflict
from wvo_mcp.execution.installation.changes import File, Plan
from wvo_mcp.execution.installation.detection import Proposal
from wvo_mcp.execution.installation.document import Document, listed, unsafe, value_at

SERVER = "wvo"
"""The name that clients know the server by; their tool names begin with it."""

COMMAND = "wvo-mcp"
STOP_HOOK = f"{COMMAND} stop-hook"
GUARD_HOOK = f"{COMMAND} command-check --hook claude"
GUARDED = "Bash|Write|Edit|MultiEdit|NotebookEdit"
"""Tools whose calls the policy judges."""
_ABOUT_PROJECT = (
    "# How a task's worktree is prepared and checked: work starts from the branch target, setup runs in each worktree,",
    "# verify are the commands that must pass; epics and tasks may add some. After you change it: wvo-mcp trust.",
)
ALLOW_RULE = f"mcp__{SERVER}"


def is_ours(entry: Any) -> bool:
    """True when the entry starts this program: by name, by path, with uv, or as a module. Other settings are free."""
    words = [value_at(entry, "command"), *listed(value_at(entry, "args"))]
    return any(isinstance(word, str) and PurePath(word).name in (COMMAND, "wvo_mcp") for word in words)


@dataclass(frozen=True)
class Piece(ABC):
    """`what` is a noun phrase for what is put into the file."""

    file: File
    what: str

    @abstractmethod
    def put(self, text: str | None, plan: Plan) -> str:
        """The text with it; the same text where it is there or must not be. Raises InvalidInput where that is not safe."""

    @abstractmethod
    def take(self, text: str, plan: Plan) -> str:
        """The text without it; empty when nothing else was there. Raises InvalidInput where that is not safe."""


@dataclass(frozen=True)
class Entry(Piece):
    """The server's entry in a client's configuration. `replace`: also where another program's is."""

    servers: str
    entry: Mapping[str, Any]
    replace: bool = False

    def put(self, text: str | None, plan: Plan) -> str:
        document = Document(text or "", self.file.shown)
        present = document.get(self.servers, SERVER)
        if present is not None and not is_ours(present) and not self.replace:
            raise Conflict(
                f"{self.file.shown} has an entry 'wvo' that starts something else. Nothing was written.",
                hint="Look at the entry and rename or remove it; wvo-mcp init --help shows what else a person can do.",
                path=self.file.shown,
                entry=present,
            )
        if not is_ours(present):
            document.put((self.servers, SERVER), dict(self.entry))
        return document.text

    def take(self, text: str, plan: Plan) -> str:
        document = Document(text, self.file.shown)
        if is_ours(document.get(self.servers, SERVER)):
            document.remove(self.servers, SERVER)
        return document.text


@dataclass(frozen=True)
class ClaudeSettings(Piece):
    """The allow rule, the approval of the server, the stop hook, and the hook that judges commands by the policy."""

    def put(self, text: str | None, plan: Plan) -> str:
        document = Document(text or "", self.file.shown)
        document.append(("permissions", "allow"), ALLOW_RULE)
        document.append(("enabledMcpjsonServers",), SERVER)
        if STOP_HOOK not in json.dumps(document.get("hooks", "Stop")):
            document.append(("hooks", "Stop"), {"hooks": [{"type": "command", "command": STOP_HOOK, "timeout": 10}]})
        if GUARD_HOOK not in json.dumps(document.get("hooks", "PreToolUse")):
            hook = {"type": "command", "command": GUARD_HOOK, "timeout": 10}
            document.append(("hooks", "PreToolUse"), {"matcher": GUARDED, "hooks": [hook]})
        plan.notes += [
            f"{self.file.shown} also lists {ALLOW_RULE} under permissions.{refusal}, which is stronger."
            for refusal in ("deny", "ask")
            if ALLOW_RULE in json.dumps(document.get("permissions", refusal))
        ]
        if SERVER in listed(document.get("disabledMcpjsonServers")):
            plan.notes.append(
                f"{self.file.shown} lists {SERVER!r} under disabledMcpjsonServers: Claude Code will not start it."
            )
        return document.text

    def take(self, text: str, plan: Plan) -> str:
        document = Document(text, self.file.shown)
        for path, ours in (("permissions", "allow"), ALLOW_RULE), (("enabledMcpjsonServers",), SERVER):
            document.keep(path, [one for one in listed(document.get(*path)) if one != ours])
        for event, ours in (("Stop", STOP_HOOK), ("PreToolUse", GUARD_HOOK)):
            document.keep(("hooks", event), list(_without(listed(document.get("hooks", event)), ours)))
        return document.text


def _without(groups: list[Any], command: str) -> Iterator[Any]:
    """The groups of hooks without those that run this command."""
    for group in groups:
        hooks = listed(value_at(group, "hooks"))
        others = [hook for hook in hooks if value_at(hook, "command") != command]
        if others or not hooks:
            yield {**cast("dict[str, Any]", group), "hooks": others} if others != hooks else group


@dataclass(frozen=True)
class Sample(Piece):
    """A file of its own, for people to change: what they changed stays."""

    content: str

    def put(self, text: str | None, plan: Plan) -> str:
        return self.content if text is None else text

    def take(self, text: str, plan: Plan) -> str:
        if text == self.content:
            return ""
        plan.notes.append(f"{self.file.shown} stays: it is not as init wrote it.")
        return text


@dataclass(frozen=True)
class Rules(Sample):
    """The roadmap to begin with, and in it `project:` as it was found. In a roadmap that is there already, `project:` comes
    before `epics:`; what people wrote of it stays."""

    proposal: Proposal

    def put(self, text: str | None, plan: Plan) -> str:
        found = self.proposal.project
        if text is not None and (not found or re.search(r"^[\"']?project\b", text, re.MULTILINE)):
            return text
        before, epics, after = (self.content if text is None else text).partition("epics:")
        if not epics or (before and not before.endswith("\n")):
            plan.notes.append(f"{self.file.shown} has no 'project:'; docs/operations.md says what to write there.")
            return text or self.content
        plan.accepts = found
        # JSON is YAML, and quotes what YAML would take for something else than text.
        lines = [
            f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in ({"verify": ()} | found).items()
        ]
        newline = "\r\n" if "\r\n" in before + after else "\n"
        return before + newline.join([*_ABOUT_PROJECT, "project:", *lines, "", epics]) + after

    def take(self, text: str, plan: Plan) -> str:
        return "" if text == self.put(None, Plan()) else super().take(text, plan)


@dataclass(frozen=True)
class Section(Piece):
    """Lines between two marks in a text file, whose line ends they take; what is around them belongs to people."""

    body: str
    marks: tuple[str, str] = ("<!-- wvo-mcp:start -->", "<!-- wvo-mcp:end -->")

    def put(self, text: str | None, plan: Plan) -> str:
        """Replaced in place, or added at the end."""
        text = text or ""
        newline = "\r\n" if "\r\n" in text else "\n"
        section = newline.join([self.marks[0], *self.body.strip().split("\n"), self.marks[1]])
        found = self._found(text)
        if found is not None:
            return text[: found.start("section")] + section + text[found.end("section") :]
        gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
        return text + gap + section + newline

    def take(self, text: str, plan: Plan) -> str:
        """Also without the empty line that `put` left before them."""
        found = self._found(text)
        return text if found is None else text[: found.start()] + text[found.end() :]

    def _found(self, text: str) -> re.Match[str] | None:
        """Both marks and what is between them, the line end after them, and an empty line before them."""
        start, end = map(re.escape, self.marks)
        marks = re.findall(rf"^[ \t]*({start}|{end})[ \t]*\r?$", text, re.MULTILINE)
        if marks and tuple(marks) != self.marks:
            pair = f"the marks {self.marks[0]!r} and {self.marks[1]!r}"
            raise unsafe(self.file.shown, f"{pair} must be there once each, in this order")
        whole = rf"(?:^[ \t]*\r?\n)?^(?P<section>[ \t]*{start}[ \t]*\r?\n.*?^[ \t]*{end})[ \t]*(?:\r?\n|\Z)"
        return re.search(whole, text, re.MULTILINE | re.DOTALL)
