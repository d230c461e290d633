"""`wvo-mcp store copy FROM TO`: a person moves everything to another database."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from wvo_mcp.errors import IncompatibleStore, InvalidInput
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.faces.cli.output import json_option, print_json, reported, wants_json
from wvo_mcp.store.copying.copy import Copied, Source, Step, Target, copy

_EVERY_SECONDS = 2.0


def store_group() -> click.Group:
    group = click.Group("store", help="The database itself: move everything to another one.")
    group.add_command(
        click.Command(
            "copy",
            help="Copy everything into an empty store, either way between the kinds of database. FROM and TO are the path"
            " of a SQLite file (state/state.db) or postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Both are compared"
            " afterwards. After an interruption the same command goes on where it stopped.",
            short_help="Copy everything into an empty store, and compare.",
            params=[
                click.Argument(["origin"], metavar="FROM"),
                click.Argument(["target"], metavar="TO"),
                click.Option(
                    ["--while-live"], is_flag=True, help="Copy the state of this moment although servers run."
                ),
                json_option(),
            ],
            callback=_copy,
        )
    )
    return group


def _copy(*, origin: str, target: str, while_live: bool, json: bool) -> None:
    with reported(as_json=wants_json(json)) as as_json:
        if origin == target or (not _is_url(origin) and _same_file(origin, target)):
            raise InvalidInput("TO", "this is where the copy comes from")
        with _source(origin) as source, _target(target) as into:
            copied = copy(source, into, _teller(), while_live=while_live)
            where = source.where, into.where
        if as_json:
            print_json(_payload(copied, *where))
        else:
            _show(copied, *where)


def _is_url(place: str) -> bool:
    return "://" in place


def _same_file(one: str, other: str) -> bool:
    return not _is_url(other) and Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _checked(field: str, place: str) -> None:
    if _is_url(place) and not place.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(field, "a path, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


@contextmanager
def _source(place: str) -> Generator[Source]:
    _checked("FROM", place)
    if _is_url(place):
        with _driver():
            from wvo_mcp.store.copying.postgres import PostgresSource  # the driver comes with an extra
        with PostgresSource(place) as source:
            yield source
    else:
        from wvo_mcp.store.copying.sqlite import SqliteSource  # each kind only where it is used

        path = Path(place).expanduser()
        with SqliteSource(path, SessionLocks(path.parent / "sessions").alive) as source:
            yield source


@contextmanager
def _target(place: str) -> Generator[Target]:
    _checked("TO", place)
    if _is_url(place):
        with _driver():
            from wvo_mcp.store.copying.postgres import PostgresTarget  # the driver comes with an extra
        with PostgresTarget(place) as target:
            yield target
    else:
        from wvo_mcp.store.copying.sqlite import SqliteTarget  # each kind only where it is used

        with SqliteTarget(Path(place).expanduser()) as target:
            yield target


@contextmanager
def _driver() -> Generator[None]:
    try:
        yield
    except ImportError as error:
        raise IncompatibleStore(
            f"The PostgreSQL driver is missing ({error}).", hint="Install wvo-mcp[postgres], then copy again."
        ) from error


def _teller() -> Callable[[Step], None]:
    """Progress for people, on stderr: the end of every table, and something every few seconds."""
    last = time.monotonic()

    def told(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        if step.total and (now - last >= _EVERY_SECONDS or (step.doing == "copying" and step.done == step.total)):
            last = now
            click.echo(f"{step.doing} {step.table}: {step.done:,} of {step.total:,} rows", err=True)

    return told


def _payload(copied: Copied, origin: str, target: str) -> dict[str, Any]:
    return {
        "from": origin,
        "to": target,
        "resumed": copied.resumed,
        "rows": copied.rows,
        "seconds": round(copied.seconds, 3),
        "rows_per_second": round(copied.rows_per_second),
        "tables": [asdict(table) for table in copied.compared],
    }


def _show(copied: Copied, origin: str, target: str) -> None:
    for table in copied.compared:
        if table.rows:
            click.echo(f"  {table.table:<20}{table.rows:>12,}  {table.sha256[:16]}")
    again = " after an interruption" if copied.resumed else ""
    click.echo(
        f"Copied {copied.rows:,} rows{again} in {copied.seconds:.1f} s ({copied.rows_per_second:,.0f} a second);"
        f" all {len(copied.compared)} tables are equal on both sides."
    )
    click.echo(f"From {origin}\nTo   {target}")
