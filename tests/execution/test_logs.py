"""What is logged holds no secrets, wherever they stood."""

import io
import logging
import secrets

import pytest

from wvo_mcp.execution.logs import RedactedLines


@pytest.mark.requirement("SAFE-3")
def test_a_line_is_redacted_with_its_arguments_and_its_traceback() -> None:
    key = "ghp_" + secrets.token_hex(18)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactedLines("wvo-mcp: %(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError(f"cannot connect to postgresql://wvo:{key}@db/wvo")
    except ValueError:
        logger.exception("%s failed, ref %s", f"push with {key}", "9f2c41aa")
    shown = stream.getvalue()
    assert key not in shown and shown.count("[redacted]") == 2  # message and error; the line of code only names it
    assert shown.startswith("wvo-mcp: ERROR push with [redacted] failed, ref 9f2c41aa\nTraceback")
