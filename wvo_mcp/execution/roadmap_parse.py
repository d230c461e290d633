"""From the bytes of a roadmap to a checked `Roadmap`, or to one error that holds every problem with its line."""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.roadmap import Roadmap, RoadmapProblem
from wvo_mcp.domain.roadmap_check import check, references
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.roadmap_fields import ROUTE, RoadmapFields
from wvo_mcp.execution.yaml_tree import Lines, Unreadable, compose

MAX_BYTES = 32 * 2**20
SHOWN_PROBLEMS = 20


def digest(data: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


def refusal(name: str, problems: Sequence[RoadmapProblem], count: int) -> InvalidInput:
    """The error for a broken file: the first problem in the message, the first SHOWN_PROBLEMS in `details.problems`,
    and how many there are in `details.count`."""
    shown = problems[:SHOWN_PROBLEMS]
    first = shown[0]
    problem = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    return InvalidInput(
        "roadmap",
        problem,
        message=f"{name}:{first.line}: {problem}{more}",
        file=name,
        problems=[each.details() for each in shown],
        count=count,
    )


@dataclass(frozen=True, slots=True)
class RoadmapDraft:
    """A parsed roadmap whose values were judged one by one; whether the tasks that it refers to exist is open."""

    name: str
    digest: str
    fields: RoadmapFields

    def references(self) -> set[str]:
        """Ids of tasks that are referred to and not in the file: they must exist in the store."""
        return references(self.fields.tasks)

    def checked(self, known_ids: set[str]) -> Roadmap:
        """The roadmap. `known_ids` are those of `references` that exist. Raises InvalidInput with every problem."""
        parts = self.fields
        for finding in check(parts.epics, parts.milestones, parts.tasks, known_ids):
            parts.found(finding)
        if parts.wrong:
            raise refusal(self.name, _by_line(parts.problems), parts.wrong)
        return Roadmap(tuple(parts.epics), tuple(parts.milestones), tuple(parts.tasks), self.digest)


def decoded(data: bytes, name: str) -> tuple[str, bool]:
    """The text, and whether a byte order mark stood before it. Raises InvalidInput: too large, or no UTF-8."""
    if len(data) > MAX_BYTES:
        problem = f"expected at most {MAX_BYTES // 2**20} MiB, found {len(data) / 2**20:.1f} MiB"
        raise refusal(name, [RoadmapProblem(1, None, "", problem)], 1)
    marked = data.startswith(codecs.BOM_UTF8)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode(), marked
    except UnicodeDecodeError as error:
        bad = error.start + (len(codecs.BOM_UTF8) if marked else 0)
        line, begin = data.count(b"\n", 0, bad) + 1, data.rfind(b"\n", 0, bad) + 1
        column = len(data[begin:bad].decode(errors="replace")) + 1
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        problem = f"expected UTF-8, found {'UTF-16' if wide else f'the byte 0x{data[bad]:02X}'}; save the file as UTF-8"
        raise refusal(name, [RoadmapProblem(line, column, "", problem)], 1) from None


def parse(data: bytes, name: str, loader: Any = None) -> RoadmapDraft:
    """`name` stands for the file in messages. An empty file is an empty roadmap. Raises InvalidInput for what is no
    YAML; other problems come with `checked`."""
    text, _ = decoded(data, name)
    fields = RoadmapFields(Lines(text))
    try:
        fields.root(compose(text, ROUTE, fields.take, loader).root)
    except Unreadable as error:
        # It comes first: what was found above it may only be a consequence, such as a key that is indented wrongly.
        here = RoadmapProblem(*fields.place(error.offset), "", error.expected)
        raise refusal(name, [here, *_by_line(fields.problems)], fields.wrong + 1) from None
    return RoadmapDraft(name, digest(data), fields)


def _by_line(problems: Iterable[RoadmapProblem]) -> list[RoadmapProblem]:
    return sorted(problems, key=lambda each: (each.line, each.column or 0))
