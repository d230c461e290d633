"""`serve`: the HTTP server of the project here, or of several."""

import asyncio
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wvo_mcp.domain.text import is_id
from wvo_mcp.faces.cli.output import reported
from wvo_mcp.faces.cli.session import Compose, settings_or_usage
from wvo_mcp.project import WrongSetting

if TYPE_CHECKING:
    from wvo_mcp.settings import Settings

_ALLOW_HOST = "Name that the server is called by, beside its own address (repeatable)."
_REQUIRE_TOKEN = "Ask for a token on this machine too; needed behind a proxy."  # noqa: S105 - a text
_PROJECT = "Serve this project below /p/NAME/ (repeatable); default: the one here."
_FILE = click.Path(exists=True, dir_okay=False)


def serve_command(compose: Compose) -> click.Command:
    def run(
        http: bool,
        host: str,
        port: int,
        no_run: bool,
        allow_host: tuple[str, ...],
        require_token: bool,
        certfile: str | None,
        keyfile: str | None,
        project: tuple[str, ...],
    ) -> int:
        if not http:
            raise click.UsageError("Give --http; wvo-mcp without a command serves MCP on stdio.")
        if (certfile is None) != (keyfile is None):
            raise click.UsageError("Give --certfile and --keyfile together.")
        from wvo_mcp.domain.access import Doors  # the other commands start without it

        gc.enable()  # this command may live for days
        doors = Doors(allow_host, certfile, keyfile, require_token)
        application, runs = compose(), not no_run
        with reported(as_json=False):
            try:
                if project:
                    several = _projects(project)
                    return asyncio.run(application.serve_projects(several, host, port, click.echo, doors, runs=runs))
                one = settings_or_usage()
                return asyncio.run(application.serve_http(one, host, port, click.echo, doors, runs=runs))
            except WrongSetting as error:
                raise click.ClickException(str(error)) from None
        return 1

    port = "Port; 0 takes a free one, shown on stdout."
    return click.Command(
        "serve",
        help="Serve the page, the tools (/api and /mcp), /health and /metrics over HTTP, and land the work that waits. From"
        " this machine agents need no token; from elsewhere everybody does, and people do wherever they decide something.",
        short_help="Serve the page, the API and MCP over HTTP.",
        params=[
            click.Option(["--http"], is_flag=True, help="Serve HTTP (required)."),
            click.Option(["--host"], default="127.0.0.1", show_default=True, help="Address to listen on."),
            click.Option(["--port"], type=click.IntRange(0, 65_535), default=8737, show_default=True, help=port),
            click.Option(["--no-run"], is_flag=True, help="Land nothing: serve alone."),
            click.Option(["--project"], multiple=True, metavar="NAME=PATH", help=_PROJECT),
            click.Option(["--allow-host"], multiple=True, metavar="NAME", help=_ALLOW_HOST),
            click.Option(["--require-token"], is_flag=True, help=_REQUIRE_TOKEN),
            click.Option(["--certfile"], type=_FILE, help="Certificate chain for TLS, in PEM."),
            click.Option(["--keyfile"], type=_FILE, help="Private key of the certificate, in PEM."),
        ],
        callback=run,
    )


def _projects(given: tuple[str, ...]) -> Mapping[str, "Settings"]:
    """Raises UsageError."""
    found: dict[str, Settings] = {}
    for one in given:
        name, _, path = one.partition("=")
        if not is_id(name) or not path:
            raise click.UsageError(f"--project {one!r}: give NAME=PATH; a name is of letters, digits, '.', '_', '-'.")
        if name in found:
            raise click.UsageError(f"--project {one!r}: the name {name} is given twice.")
        if not Path(path).expanduser().is_dir():
            raise click.UsageError(f"--project {one!r}: there is no folder {path}.")
        try:
            found[name] = settings_or_usage(str(Path(path).expanduser()))
        except click.ClickException as error:
            raise click.UsageError(f"--project {one!r}: {error.message}") from None
    return found
