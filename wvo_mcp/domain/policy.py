"""What the safety policy says of something that an agent wants to do."""

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """From the mildest to the strictest."""

    ALLOW = 0
    WATCH = 1
    """Done, and recorded; asked when nobody attends."""
    ASK = 2
    DENY = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` is a sentence that a model can act on; `subject` the part that it is about."""

    verdict: Verdict
    rule: str = "default"
    reason: str = ""
    subject: str = ""
