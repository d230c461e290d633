"""`wvo-mcp serve --http`: the HTTP face, until it is stopped."""

import asyncio
import gc

import click

from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.output import reported
from wvo_mcp.faces.cli.session import settings_or_usage
from wvo_mcp.project import WrongSetting


def serve_command(compose: Compose) -> click.Command:
    def run(http: bool, host: str, port: int) -> int:
        if not http:
            raise click.UsageError("Give --http; wvo-mcp without a command serves MCP on stdio.")
        gc.enable()  # this command may live for days
        with reported(as_json=False):
            try:
                return asyncio.run(compose().serve_http(settings_or_usage(), host, port, click.echo))
            except WrongSetting as error:
                raise click.ClickException(str(error)) from None
        return 1

    port = "Port; 0 takes a free one, shown on stdout."
    return click.Command(
        "serve",
        help="Serve the tools (/api), /health and /metrics over HTTP on this machine.",
        short_help="Serve the API, /health and /metrics over HTTP.",
        params=[
            click.Option(["--http"], is_flag=True, help="Serve HTTP (required)."),
            click.Option(["--host"], default="127.0.0.1", show_default=True, help="Loopback address to listen on."),
            click.Option(["--port"], type=click.IntRange(0, 65_535), default=8737, show_default=True, help=port),
        ],
        callback=run,
    )
