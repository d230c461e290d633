"""From the bytes of a roadmap to a checked `Roadmap`, or to one error that holds every problem with its line."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.roadmap import Roadmap, RoadmapProblem
from wvo_mcp.domain.roadmap_check import check, references
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.roadmap.fields import ROUTE, RoadmapFields
from wvo_mcp.execution.yaml import source as yaml_source
from wvo_mcp.execution.yaml.fields import by_line
from wvo_mcp.execution.yaml.tree import Lines, Unreadable, compose

MAX_BYTES = 32 * 2**20


def digest(data: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


def refusal(name: str, problems: Sequence[RoadmapProblem], count: int) -> InvalidInput:
    """The error for a broken roadmap, as `yaml_source.refusal` has it."""
    return yaml_source.refusal("roadmap", name, problems, count)


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
            raise refusal(self.name, by_line(parts.problems), parts.wrong)
        lists = (tuple(parts.epics), tuple(parts.milestones), tuple(parts.tasks))
        return Roadmap(*lists, self.digest, tuple(parts.warnings))


def decoded(data: bytes, name: str) -> tuple[str, bool]:
    """The text, and whether a byte order mark stood before it. Raises InvalidInput: too large, or no UTF-8."""
    return yaml_source.decoded(data, MAX_BYTES, "roadmap", name)


def parse(data: bytes, name: str, loader: Any = None) -> RoadmapDraft:
    """`name` stands for the file in messages. An empty file is an empty roadmap. Raises InvalidInput for what is no
    YAML; other problems come with `checked`."""
    text, _ = decoded(data, name)
    fields = RoadmapFields(Lines(text))
    try:
        fields.root(compose(text, ROUTE, fields.take, loader))
    except Unreadable as error:
        # It comes first: what was found above it may only be a consequence, such as a key that is indented wrongly.
        here = RoadmapProblem(*fields.place(error.offset), "", error.expected)
        raise refusal(name, [here, *by_line(fields.problems)], fields.wrong + 1) from None
    return RoadmapDraft(name, digest(data), fields)
