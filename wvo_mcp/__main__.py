"""`wvo-mcp`: without arguments the MCP server on stdio, else the command line."""

import sys


def main() -> int:
    # Late imports: the front must answer within milliseconds, and each half never needs the other.
    if len(sys.argv) > 1:
        from wvo_mcp.faces.cli import main as run_command

        return run_command(sys.argv[1:])
    from wvo_mcp.front import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
