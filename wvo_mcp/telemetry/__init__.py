"""Spans and metrics of the work, to files and collectors. Imported only when OTEL_ENABLED=1."""

from wvo_mcp.telemetry.setup import Telemetry, begin

__all__ = ["Telemetry", "begin"]
