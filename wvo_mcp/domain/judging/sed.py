"""Reads a program of sed as far as is needed to say whether it runs commands, or reads and writes other files."""

import re

_ADDRESS = re.compile(r"\s*(?:\d+|\$)(?:~\d+)?\s*")
_BETWEEN = re.compile(r"[\s;{}!]*")
_PLAIN = re.compile(r"[=dDgGhHlLnNpPqQxzF]\s*\d*")
_LABEL = re.compile(r"[btT:][^;\n]*")
_TEXT = re.compile(r"[aic#](?:\\\n|[^\n])*")


def only_edits(program: str) -> bool:
    """False as well for what is not understood."""
    at = 0
    while True:
        at = _skipped(_BETWEEN, program, at)
        at = _after_address(program, at)
        if at is None:
            return False
        if at >= len(program):
            return True
        letter = program[at]
        if letter in "sy":
            end = _after_parts(program, at + 1, 2)
            if end is None:
                return False
            flags = re.compile(r"[gpimIM0-9]*").match(program, end) if letter == "s" else None
            at = end if flags is None else flags.end()
            if at < len(program) and not re.match(r"\s*(?:[;}\n#]|$)", program[at:]):
                return False
            continue
        found = next((one.match(program, at) for one in (_PLAIN, _LABEL, _TEXT) if one.match(program, at)), None)
        if found is None:
            return False
        at = found.end()
        if _PLAIN.match(letter) and at < len(program) and program[at] not in "; }\n":
            return False


def _after_address(program: str, at: int) -> int | None:
    """After the addresses of a command; None when one has no end."""
    for _ in range(2):
        start = at
        if program[at : at + 1] in ("/", "\\"):
            end = _after_parts(program, at + (program[at] == "\\"), 1)
            if end is None:
                return None
            at = _skipped(re.compile(r"[IM]*\s*"), program, end)
        else:
            at = _skipped(_ADDRESS, program, at)
        if at == start or program[at : at + 1] != ",":
            break
        at = _skipped(re.compile(r",\s*[+~]?"), program, at)
    return _skipped(re.compile(r"[\s!{]*"), program, at)


def _after_parts(program: str, at: int, count: int) -> int | None:
    """After so many parts, each ended by the delimiter that stands at `at`."""
    delimiter = program[at : at + 1]
    if not delimiter or delimiter.isalnum() or delimiter in "\\\n ":
        return None
    at, within = at + 1, False
    while at < len(program):
        if program[at] == "\\":
            at += 1
        elif program[at] == "[" and not within:
            within = "]" in program[at + 2 :] and count > 0 and delimiter in program[at : program.index("]", at + 2)]
        elif program[at] == "]" and within:
            within = False
        elif program[at] == delimiter:
            # Within brackets GNU sed and others differ: then it is not understood.
            if within:
                return None
            count -= 1
            if not count:
                return at + 1
        at += 1
    return None


def _skipped(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
