"""`wvo-mcp store copy FROM TO`: a person moves everything to another database."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from wvo_mcp.errors import IncompatibleStore, InvalidInput
from wvo_mcp.execution.identity import check_not_below_warden
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.faces.cli.output import command, print_result
from wvo_mcp.faces.cli.session import Compose
from wvo_mcp.store.copying.copy import Source, Step, Target, copy
from wvo_mcp.store.copying.sqlite import SqliteTarget, sqlite_source

_EVERY_SECONDS = 2.0


def copy_command(_compose: Compose) -> click.Command:
    live = "Proceed while servers are connected; later writes are not copied."
    return command(
        "copy",
        _copy,
        "Copy everything into a new store, either way between the kinds of database. FROM and TO are the path of a"
        " SQLite file (state/state.db) or postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Both are compared before the"
        " copy can be used. An interrupted copy leaves TO as it was; the same command starts over.",
        [
            click.Argument(["origin"], metavar="FROM"),
            click.Argument(["target"], metavar="TO"),
            click.Option(["--while-live"], is_flag=True, help=live),
        ],
        short="Copy everything to a new store and compare.",
    )


def _copy(given: dict[str, Any], as_json: bool) -> None:
    check_not_below_warden("store copy")
    origin, target = given["origin"], given["target"]
    files = "://" not in origin + target
    if origin == target or (files and Path(origin).expanduser().resolve() == Path(target).expanduser().resolve()):
        raise InvalidInput("TO", "this is where the copy comes from")
    with _source(origin) as source, _target(target) as into:
        copied = copy(source, into, _progress(), while_live=given["while_live"])
        places = {"from": source.where, "to": into.where}
    counts = {
        "rows": copied.rows,
        "seconds": round(copied.seconds, 3),
        "rows_per_second": round(copied.rows_per_second),
    }
    tables = [asdict(table) for table in copied.compared]
    print_result("store_copy", {**places, **counts, "tables": tables}, as_json=as_json)


def _is_url(field: str, place: str) -> bool:
    if "://" in place and not place.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(field, "a path, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return "://" in place


def _source(place: str) -> AbstractContextManager[Source]:
    if _is_url("FROM", place):
        return _postgres().postgres_source(place)
    path = Path(place).expanduser()
    return sqlite_source(path, SessionLocks(path.parent / "sessions").alive)


def _target(place: str) -> AbstractContextManager[Target]:
    return _postgres().PostgresTarget(place) if _is_url("TO", place) else SqliteTarget(Path(place).expanduser())


def _postgres() -> ModuleType:
    try:
        from wvo_mcp.store.copying import postgres  # the driver comes with an extra
    except ImportError as error:
        raise IncompatibleStore(
            f"The PostgreSQL driver is missing ({error}).", hint="Install wvo-mcp[postgres], then copy again."
        ) from error
    return postgres


def _progress() -> Callable[[Step], None]:
    """Progress for people, on stderr: the end of every table, and something every few seconds."""
    last = time.monotonic()

    def report(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        if step.total and (now - last >= _EVERY_SECONDS or (step.doing == "copying" and step.done == step.total)):
            last = now
            click.echo(f"{step.doing} {step.table}: {step.done:,} of {step.total:,} rows", err=True)

    return report
