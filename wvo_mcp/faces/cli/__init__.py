"""The command line: one command per operation, and what installs and checks this program."""

from wvo_mcp.faces.cli.entry import main

__all__ = ["main"]
