"""Why a provider failed and what it used, read from what programs print and servers answer. Pure: the clock is a parameter."""

from wvo_mcp.domain.providers.signals.http import from_http
from wvo_mcp.domain.providers.signals.output import read_output
from wvo_mcp.domain.providers.signals.phrases import from_text
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage

__all__ = ["FailureKind", "Reading", "Signal", "Usage", "from_http", "from_text", "read_output"]
