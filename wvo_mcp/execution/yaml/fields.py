"""From a tree to the fields of its mappings, judging each value on its own line."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from wvo_mcp.domain.roadmap import RoadmapProblem
from wvo_mcp.domain.roadmap_check import did_you_mean
from wvo_mcp.execution.yaml import values
from wvo_mcp.execution.yaml.tree import Lines, MappingNode, Node, ScalarNode, resolved

MAX_PROBLEMS = 1_000

Pairs = dict[str, Node]


class YamlFields:
    """`problems` holds the first MAX_PROBLEMS of the `wrong` that were met."""

    def __init__(self, lines: Lines) -> None:
        self.problems: list[RoadmapProblem] = []
        self.wrong = 0
        self._lines = lines
        self._unknown: set[int] = set()

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1."""
        return self._lines.place(offset)

    def line(self, node: Node) -> int:
        return self._lines.place(node.start)[0]

    def report(self, offset: int, path: str, message: str) -> None:
        self.wrong += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(RoadmapProblem(*self._lines.place(offset), path, message))

    def pairs(
        self, node: Node, path: str, known: Collection[str], expected: str, own: Mapping[str, str] | None = None
    ) -> Pairs | None:
        """The values of the known keys; what else is there is reported. None when it is no mapping.

        Keys of `own` are not taken over by a merge; the text there is what is then reported, if any.
        """
        mapping = resolved(node)
        if not isinstance(mapping, MappingNode):
            self.report(node.start, path, expected)
            return None
        prefix = f"{path}." if path else ""
        for offset, key, fault in mapping.faults:
            self.report(offset, f"{prefix}{key[:60]}" if key else path, fault)
        pairs: Pairs = {}
        for key, (at, value, is_own) in mapping.entries.items():
            if key not in known:
                if at.start not in self._unknown:  # else met before, through a merge
                    self._unknown.add(at.start)
                    self.unknown(at, key, prefix, known)
            elif is_own or own is None or key not in own:
                pairs[key] = value
            elif own[key]:
                self.report(mapping.merges[0][0].start, f"{prefix}{key}", own[key])
        return pairs

    def unknown(self, at: ScalarNode, key: str, prefix: str, known: Collection[str]) -> None:
        meant = did_you_mean(key[:60], known, 1) if self.wrong < MAX_PROBLEMS else ""
        meant = meant or f" Known are {', '.join(known)}."
        self.report(at.start, f"{prefix}{key[:60]}", f"unknown key {key[:60]!r}.{meant}")

    def read(
        self, node: Node, pairs: Pairs, path: str, readers: Mapping[str, values.Reader], required: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Key -> value of every pair that has a reader and a right value; those `required` must be there."""
        prefix = f"{path}." if path else ""
        for key in required:
            if key not in pairs or values.is_null(pairs[key]):
                at = pairs[key].start if key in pairs else node.start
                self.report(at, f"{prefix}{key}", f"expected '{key}: ...', found nothing")
        found: dict[str, Any] = {}
        key = ""

        def report(offset: int, item: str, message: str) -> None:
            self.report(offset, f"{prefix}{key}{item}", message)

        for key, value in pairs.items():
            reader = readers.get(key)
            if reader is None or values.is_null(value):
                continue
            one = reader(value, report)
            if one is not None:
                found[key] = one
        return found


def by_line(problems: Iterable[RoadmapProblem]) -> list[RoadmapProblem]:
    return sorted(problems, key=lambda each: (each.line, each.column or 0))
