"""The command line: one command per operation, and what installs and checks this program; arguments in, exit code out."""

import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wvo_mcp.faces.cli.session import Compose

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: list[str], compose: "Compose") -> int:
    """Run one command; gives 0 for success, 1 for an error with a code, 2 for wrong usage, more for a signal."""
    if argv == ["stop-hook"]:
        from wvo_mcp.faces.cli.stop_hook import answer  # a client waits for it at the end of every turn

        return answer(sys.stdin.buffer, sys.stdout, compose)
    if argv[:2] == ["command-check", "--hook"] and len(argv) == 3:
        from wvo_mcp.faces.cli import command_hook  # a client waits for it before every command

        if argv[2] in command_hook.CLIENTS:
            return command_hook.answer(argv[2], sys.stdin.buffer, sys.stdout, compose)
    # Most commands live for less than a second, a twentieth of which went into collecting what imports leave behind.
    gc.disable()
    try:
        return _run(argv, compose)
    finally:
        gc.enable()


def _run(argv: list[str], compose: "Compose") -> int:
    import click  # the stop hook starts without it

    from wvo_mcp.domain.known_secrets import register_environment
    from wvo_mcp.faces.cli.tree import build_cli

    register_environment(os.environ)
    try:
        code: object = build_cli(compose).main(args=argv, prog_name="wvo-mcp", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader has gone (click says so by SystemExit); nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    return code if isinstance(code, int) else 0
