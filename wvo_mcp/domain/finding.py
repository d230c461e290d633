"""What a check of an installation found."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, but not as well or as safely as it should."""
    FAIL = "fail"
    """Does not work until a person acts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do when it is not well."""

    check: str
    outcome: Outcome
    found: str
    remedy: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check, Outcome.OK, found)


def warn(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Outcome.WARN, found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Outcome.FAIL, found, remedy)
