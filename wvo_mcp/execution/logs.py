"""Log lines on stderr, without the secrets that an error may quote."""

import logging
import sys

from wvo_mcp.domain.redaction import redact


class RedactedLines(logging.Formatter):
    """Redacts the whole line with its traceback: an error of a driver or a program may quote what it was given."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to_stderr() -> None:
    """Warnings and worse, of every library; does nothing when logging is set up already."""
    if not logging.root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactedLines("wvo-mcp: %(levelname)s %(message)s"))
        logging.root.addHandler(handler)
        logging.root.setLevel(logging.WARNING)


def redact_last_resort() -> None:
    """Where no logging is set up, as for a command: what Python prints on stderr all the same is redacted too."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(RedactedLines())
