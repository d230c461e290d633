"""What matters of a long output, for who has to mend what it complains about."""

import re
from collections.abc import Sequence

MOST = 4_000
_BEFORE, _AFTER = 2, 6
_END = 15
_LINE = 300
_TROUBLE = re.compile(
    r"""^E\s{2,} | ^\s*FAIL(ED|URE)?\b | ^---\s+FAIL | ^\s*not\s+ok\b | ^\s*[●✕✗✘] | ^\S*\bpanic: | ^thread\ '.*'\ panicked
    | \b\w*(Error|Exception)\b:? | \berror(\[\w+\])?: | \bfatal: | \bassert(ion)?\b.*\bfail | ^make(\[\d+\])?:\ \*\*\*
    | ^npm\ (ERR!|error) | \bcommand\ not\ found | \bNo\ such\ file | \bundefined\ (reference|:) | ^\S+:\d+(:\d+)?:\ """,
    re.VERBOSE | re.IGNORECASE,
)


def what_matters(output: str, most: int = MOST) -> str:
    """Its first complaints with what stands around them, then its end; at most `most` characters. Short output is whole."""
    text = output.strip("\n")
    if len(text) <= most:
        return text
    lines = [line if len(line) <= _LINE else line[:_LINE] + "..." for line in text.splitlines()]
    first_of_end = max(0, len(lines) - _END)
    end = "\n".join(lines[first_of_end:])[-most // 2 :]
    shown = _shown(lines[:first_of_end], most - len(end) - 10)
    return f"{shown}\n...\n{end}" if shown else end


def _shown(lines: Sequence[str], most: int) -> str:
    """The complaints from the first on, as many as there is room for."""
    wanted: dict[int, None] = {}
    for number, line in enumerate(lines):
        if _TROUBLE.search(line):
            wanted |= dict.fromkeys(range(max(0, number - _BEFORE), min(len(lines), number + _AFTER)))
    parts: list[str] = []
    last, size = -1, 0
    for number in sorted(wanted):
        gap = ["..."] if number != last + 1 else []
        size += len(lines[number]) + 1 + 4 * len(gap)
        if size > most:
            break
        parts += [*gap, lines[number]]
        last = number
    return "\n".join(parts)
