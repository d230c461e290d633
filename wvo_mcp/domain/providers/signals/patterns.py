"""Patterns that are compiled when they are first needed: all of them together would take part of the start."""

import re
from collections.abc import Iterator
from functools import cached_property


class Pattern:
    """As `re.compile` gives it, but later."""

    def __init__(self, written: str, flags: int = 0) -> None:
        self._written = written
        self._flags = flags

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self._written, self._flags)

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        return self._compiled.match(text, at)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self._compiled.fullmatch(text)

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        return self._compiled.search(text, at)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        return self._compiled.finditer(text)

    def sub(self, instead: str, text: str) -> str:
        return self._compiled.sub(instead, text)
