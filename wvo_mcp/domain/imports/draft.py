"""The result of every reader: tasks to create, each with the line it came from."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import Priority, TaskType
from wvo_mcp.domain.text import TEXT_CHARACTERS, TITLE_CHARACTERS, FileGlob, Id, Label, Prose, Text, Title, as_id
from wvo_mcp.errors import InvalidInput, problem_of

MAX_TASKS = 20_000
MAX_LINE = 200_000
"""Characters; a longer line is not a task."""
MAX_PROBLEMS = 10
MAX_DEPTH = 50


class State(StrEnum):
    OPEN = "open"
    BLOCKED = "blocked"
    DONE = "done"
    DROPPED = "dropped"
    """Cancelled, deleted, or nothing to be worked on."""


class Fields(BaseModel, extra="forbid", frozen=True, defer_build=True):
    """The fields of a task, as in create_tasks."""

    id: Id
    title: Title
    description: Text | None = None
    epic_id: Id | None = None
    milestone_id: Id | None = None
    parent_id: Id | None = None
    type: TaskType | None = None
    priority: Priority | None = None
    complexity: Annotated[int, Field(ge=1, le=10)] | None = None
    business_value: Annotated[float, Field(ge=0, le=20)] | None = None
    depends_on: Annotated[list[Id], Field(max_length=500)] = []
    labels: Annotated[list[Label], Field(max_length=50)] | None = None
    files: Annotated[list[FileGlob], Field(max_length=50)] | None = None
    capabilities: Annotated[list[Label], Field(max_length=20)] | None = None
    acceptance: Annotated[list[Prose], Field(max_length=50)] | None = None
    requires_approval: bool | None = None
    not_before: Instant | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A task of the file."""

    line: int
    fields: Fields
    state: State = State.OPEN
    reason: str | None = None
    """Why it is blocked."""
    waiting_for: tuple[str, ...] = ()
    """What a blocked one waits for."""


class Problems:
    """What is wrong, by line; up to ten are reported at once."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, problem: str) -> None:
        self._found.append((line, problem))
        if len(self._found) >= MAX_PROBLEMS:
            self.check()

    def check(self) -> None:
        """Raises InvalidInput that names the first line."""
        if self._found:
            refuse(*self._found[0], self._found)


def refuse(line: int, problem: str, found: Sequence[tuple[int, str]] = ()) -> NoReturn:
    """Raises InvalidInput that names the line; `found` is all that is wrong."""
    problems = [{"field": f"line {at}", "problem": what, "line": at} for at, what in found or [(line, problem)]]
    raise InvalidInput("text", problem, message=f"line {line}: {problem}", line=line, problems=problems)


def text_of(raw: bytes | str) -> str:
    """The text without a byte order mark. Raises InvalidInput that names the line of what no text may hold."""
    if isinstance(raw, bytes):
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            refuse(raw.count(b"\n", 0, error.start) + 1, f"not UTF-8: byte 0x{raw[error.start]:02x}")
    else:
        text = raw.removeprefix("\ufeff")
    at = text.find("\x00")
    if at >= 0:
        refuse(text.count("\n", 0, at) + 1, "contains a NUL character")
    return text


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, line), without its end of whichever kind. Raises InvalidInput for one that is too long."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            refuse(number, f"has {len(line):,} characters; expected at most {MAX_LINE:,}")
        yield number, line.removesuffix("\r")


def one_of(known: Mapping[str, Any]) -> BeforeValidator:
    """The meaning of a word of the file."""

    def look_up(value: object) -> Any:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return known[value]

    return BeforeValidator(look_up)


T = TypeVar("T", bound=BaseModel)


def checked(kind: type[T], problems: Problems, line: int, given: Mapping[str, Any]) -> T | None:
    """The checked values, of which null and empty ones count as left out; what is wrong goes to `problems`."""
    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None and value != ""})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:80] or "object"
        what = problem_of(first)
        if first["type"] == "extra_forbidden":
            what = f"unknown field; expected {', '.join(kind.model_fields)}"
        problems.add(line, f"{place}: {what}")
        return None


@dataclass(slots=True)
class Reading:
    """The content of a file."""

    format: str
    items: list[Item] = field(default_factory=list[Item])
    epics: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Id -> {title, wip_limit}."""
    milestones: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Id -> {title, epic_id, due_at}."""
    warnings: list[str] = field(default_factory=list[str])
    problems: Problems = field(default_factory=Problems)

    def add(self, line: int, given: Mapping[str, Any], state: State = State.OPEN, reason: str | None = None) -> None:
        """Add a task with these fields; what is wrong with them goes to `problems`."""
        fields = checked(Fields, self.problems, line, given)
        if fields is not None:
            self.items.append(Item(line, fields, state, reason))

    def finished(self) -> "Reading":
        """Itself, once everything was read. Raises InvalidInput for what is wrong, and for ids that are there twice."""
        owner: dict[str, int] = {}
        for each in self.items:
            if each.fields.id in owner:
                self.problems.add(each.line, f"the id {each.fields.id} is on line {owner[each.fields.id]} already")
            else:
                owner[each.fields.id] = each.line
        self.problems.check()
        if len(self.items) > MAX_TASKS:
            refuse(self.items[MAX_TASKS].line, f"has more than {MAX_TASKS:,} tasks; split the file")
        return self


def made_id(prefix: str, text: str, *context: str) -> str:
    """An id for a thing without one: readable, and the same whenever text and context are."""
    digest = hashlib.sha256("\x1f".join((*context, text)).encode(errors="surrogatepass")).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:36].strip("-")
    return as_id("-".join(part for part in (prefix, slug, digest) if part))


def slug(text: str) -> str:
    """A readable id of an epic. What ids cannot spell, or have no room for, is distinguished by a digest."""
    line = text.strip()
    if not line.isascii() or len(line) > 64:
        return made_id("", line)
    return as_id(re.sub(r"[^A-Za-z0-9._]+", "-", line).strip("-")[:64].strip("-")) if line else "x"


def short(text: str) -> str:
    """As much of a text as fits into a title."""
    return _cut(" ".join(text.split()), TITLE_CHARACTERS)


def prose(*parts: object) -> str | None:
    """The parts as one description, cut where it would be too long; None when there is nothing."""
    whole = "\n\n".join(str(part).strip() for part in parts if isinstance(part, str) and part.strip())
    return _cut(whole, TEXT_CHARACTERS) or None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 6] + " [...]"
