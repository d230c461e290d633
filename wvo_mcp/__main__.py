"""`wvo-mcp`: without arguments the MCP server on stdio, else the command line."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from typing import Any

# Late imports all over: the front must answer within milliseconds, and each half never needs the other.


def main() -> int:
    """The exit code: 0 success, 1 an error with a code, 2 wrong usage or a wrong setting."""
    if len(sys.argv) > 1:
        from wvo_mcp.faces.cli import main as run_command

        return run_command(sys.argv[1:], _compose)
    from wvo_mcp.front.start import main as serve

    return serve()


def _compose() -> Any:
    from wvo_mcp import app

    return app


if __name__ == "__main__":
    sys.exit(main())
