"""Error texts for retrieval: 54 known patterns, 200 labelled texts of them, and others of no known pattern.

The texts were made from real public ones, whose place each states: paths, names and versions are changed, some are wrapped
in logs or told in prose. The first text of a pattern is what was learned of it; the others are asked. They were written, and
split by a hash of the text, before there was a line of the code that they try: what is tuned looks at `tuning` alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT_KNOWN, HELD_OUT_OTHERS = 100, 200


@dataclass(frozen=True)
class Text:
    label: str
    """Of the pattern; empty for one of no known pattern."""
    origin: str
    text: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(name: str) -> list[Text]:
    label = ""
    found: list[Text] = []
    lines: list[str] = []
    origin = ""

    def end() -> None:
        if lines:
            found.append(Text(label, origin, "\n".join(lines)))
            lines.clear()

    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("@@@ "):
            end()
            label = line[4:]
        elif line.startswith("@@ "):
            end()
            origin = line[3:]
        else:
            lines.append(line)
    end()
    return found


def learned_and_asked() -> tuple[list[Text], list[Text]]:
    """What is learned, one text a pattern, and what is asked."""
    every = [one for file in ("known_python.txt", "known_node.txt", "known_systems.txt") for one in read(file)]
    first: dict[str, Text] = {}
    for one in every:
        first.setdefault(one.label, one)
    learned = list(first.values())
    return learned, [one for one in every if one not in learned]


def split(texts: list[Text], held_out: int) -> tuple[list[Text], list[Text]]:
    """Those to tune with, and so many that are held out."""
    by_hash = sorted(texts, key=lambda one: one.hash)
    return by_hash[held_out:], by_hash[:held_out]
