"""`wvo-mcp backup restore`: a person puts a backup in the place of the store."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import click

from wvo_mcp.domain.backup import Kind, span
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.redaction import redacted
from wvo_mcp.errors import Conflict, WvoError
from wvo_mcp.faces.cli.output import command, print_result, visible
from wvo_mcp.faces.cli.session import Application, Compose, settings_or_usage
from wvo_mcp.ports.backend import Backups
from wvo_mcp.settings import Settings


def while_live_option() -> click.Option:
    text = "Proceed while servers are connected; they lose their leases."
    return click.Option(["--while-live"], is_flag=True, help=text)


def restore_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        application, settings, name = compose(), settings_or_usage(), given["name"]
        if (name is None) == (not given["latest"]):
            raise click.UsageError("Name one of wvo-mcp backup-list, or give --latest.")
        refuse_if_live(application, settings, given["while_live"])
        if not as_json and sys.stdin.isatty() and not given["yes"]:
            chosen = asyncio.run(_chosen(application.backend_of(settings).backups, name))
            if not click.confirm(f"Replace the present store by {visible(chosen)}?"):
                click.echo("Nothing was changed.", err=True)
                raise click.exceptions.Exit(1)
        print_result("backup_restore", restore_and_sync(application, settings, name), as_json=as_json)

    return command(
        "restore",
        run,
        "Replace the store by a backup. The current store is kept as another backup (or renamed when it is damaged)."
        " Leases claimed since the backup end; the roadmap is synced.",
        [
            click.Argument(["name"], required=False),
            click.Option(["--latest"], is_flag=True, help="Newest backup that passes the check."),
            while_live_option(),
            click.Option(["--yes"], is_flag=True, help="No confirmation."),
        ],
    )


async def _chosen(backups: Backups, name: str | None) -> str:
    """The named one, or the newest that was not made by a restore, with its time. Raises NotFound."""
    if name is not None:
        await backups.verify(name)
    now = datetime.now(UTC)
    for one in sorted(await backups.all(), key=lambda one: one.at > now):  # as the restore chooses
        if one.name == name or (name is None and one.kind is not Kind.SAFETY):
            return f"{one.name}, of {one.at.astimezone():%Y-%m-%d %H:%M:%S}"
    return "the newest backup"


def refuse_if_live(application: Application, settings: Settings, even_so: bool) -> None:
    """Raises Conflict while servers are connected to the store; not checked where that does not matter."""
    living = [] if even_so else application.backend_of(settings).living()
    if living:
        raise Conflict(
            f"{len(living)} servers are connected to the store.",
            hint="Close their clients first, or add --while-live: they lose their leases.",
            living=living[:20],
        )


def restore_and_sync(application: Application, settings: Settings, name: str | None) -> dict[str, Any]:
    """Restore, then merge the roadmap; JSON-ready. A mistake in the roadmap undoes nothing, and is reported. Raises
    Forbidden for an agent, and as `Backend.restore`."""
    caller = application.cli_caller(settings)
    caller.admit(Role.ADMIN, "backup restore")
    done = asyncio.run(application.backend_of(settings).restore(name, caller))
    result: dict[str, Any] = {
        "restored": done.backup.name,
        "lost": span(done.lost_since, done.lost_until),
        "lost_since": done.lost_since and iso(done.lost_since),
        "lost_until": done.lost_until and iso(done.lost_until),
        "safety": done.safety,
        "damaged_file": done.kept,
        "passed_over": done.passed_over,
        "seconds": round(done.seconds, 3),
    }
    try:
        result["roadmap"] = asyncio.run(application.sync(settings))
    except WvoError as error:
        result["roadmap_error"] = redacted(error.payload())
    return result
