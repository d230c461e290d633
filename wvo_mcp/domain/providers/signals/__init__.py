"""Why a provider failed and what it used, read from what programs print and servers answer. Pure: the clock is a parameter.

The readers are imported with the first report or failure: they would take part of the start of every server and command.
"""

from collections.abc import Iterable
from datetime import datetime

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage

__all__ = ["FailureKind", "Reading", "Signal", "Usage", "from_http", "from_text", "read_output"]


def read_output(kind: ProviderKind, lines: Iterable[str], now: datetime, *, exit_code: int | None = None) -> Reading:
    """What the lines of a run say, those of stdout and stderr in any order; in time and memory of the longest line.

    `exit_code`: None while it is unknown; 124 for a program that was stopped because it was silent for too long. A time
    without a zone is taken to be in the zone of `now`. Of codex a resumed thread tells the usage of all of it.
    """
    from wvo_mcp.domain.providers.signals import output

    return output.read_output(kind, lines, now, exit_code=exit_code)


def from_http(status: int, body: str, now: datetime) -> Signal | None:
    """The failure in an HTTP answer; None when it is no failure, or one that the request deserved.

    `body` as it came, or its beginning.
    """
    from wvo_mcp.domain.providers.signals import answers

    return answers.from_http(status, body, now)


def from_text(text: str, now: datetime) -> Signal | None:
    """Of free text, such as the error that a report passes on; None where in doubt.

    Counts only what nothing but a provider's program prints, and only where a line begins with it. Of a long text the
    first and the last 400 lines are looked at.
    """
    from wvo_mcp.domain.providers.signals import sentences

    return sentences.from_text(text, now)
