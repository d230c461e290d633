"""How far long work is, on a terminal."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wvo_mcp.orchestration.jobs import OnProgress


@contextmanager
def shown(what: str) -> "Generator[OnProgress | None]":
    """A bar on stderr while it lasts, for people; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    # rich costs a tenth of a second and serves terminals only
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)

        async def report(done: float, note: str) -> None:
            bar.update(task, completed=done, description=note or what)

        yield report
