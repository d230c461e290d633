"""A measured value beside its floor, and how it is shown."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wvo_mcp.store.sqlite.connection import sqlite


@dataclass(frozen=True)
class Floor:
    """What the same machine needs in the same moments for what cannot be avoided."""

    name: str
    value: float


@dataclass(frozen=True)
class Target:
    """A bound on the value itself, on its p99, or on its ratio to the first floor."""

    bound: float
    of: str = "value"
    """`value`, `p99` or `ratio`."""
    at_least: bool = False

    def met(self, figure: "Figure") -> bool:
        measured = {"value": figure.value, "p99": figure.p99, "ratio": figure.ratio}[self.of]
        if measured is None:
            return False
        return measured >= self.bound if self.at_least else measured <= self.bound

    def __str__(self) -> str:
        bound = f"{self.bound:g}x" if self.of == "ratio" else f"{self.bound:g}"
        return f"{'p99 ' if self.of == 'p99' else ''}{'>=' if self.at_least else '<='} {bound}"


@dataclass(frozen=True)
class Figure:
    """`value` is the median where there are samples. `size` counts the tasks of the store, None where it has no meaning."""

    name: str
    unit: str
    value: float
    size: int | None = None
    p99: float | None = None
    floors: Sequence[Floor] = ()
    targets: Sequence[Target] = ()
    samples: int | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """To the first floor."""
        return self.value / self.floors[0].value if self.floors and self.floors[0].value else None

    @property
    def met(self) -> bool:
        return all(target.met(self) for target in self.targets)

    def payload(self) -> dict[str, Any]:
        shown = asdict(self)
        shown["floors"] = [
            {"name": floor.name, "value": floor.value, "ratio": self.value / floor.value if floor.value else None}
            for floor in self.floors
        ]
        shown["targets"] = [{"target": str(target), "met": target.met(self)} for target in self.targets]
        return shown


@dataclass
class Report:
    """All figures of one run, written as they come."""

    console: Console
    figures: list[Figure] = field(default_factory=list[Figure])

    def add(self, *figures: Figure) -> None:
        for figure in figures:
            self.figures.append(figure)
            name, *cells = (*_row(figure), figure.note)
            self.console.print(f"  {name}: {' | '.join(cell for cell in cells if cell)}")

    def show(self) -> None:
        table = Table("figure", "tasks", "p50", "p99", "floors", "target", "", title="beside their floors")
        for figure in self.figures:
            row = _row(figure)
            table.add_row(*row, style=None if figure.met else "yellow")
        self.console.print(table)

    def markdown(self) -> str:
        """The table as it stands in docs/performance.md."""
        lines = ["| figure | tasks | p50 | p99 | floors (ratio) | target | met |", "|---|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_row(figure)) + " |" for figure in self.figures]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        said = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "figures": [figure.payload() for figure in self.figures],
        }
        path.write_text(json.dumps(said, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cores = sorted(_cores())
    return {
        "system": platform.platform(),
        "cores": len(cores),
        "python": platform.python_version(),
        "sqlite": sqlite.sqlite_version,
        "load": Path("/proc/loadavg").read_text().split()[:3] if Path("/proc/loadavg").exists() else None,
    }


def _cores() -> set[int]:
    import os

    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _row(figure: Figure) -> tuple[str, ...]:
    floors = "; ".join(
        f"{floor.name} {_number(floor.value)} ({figure.value / floor.value:.2f}x)"
        for floor in figure.floors
        if floor.value
    )
    return (
        figure.name,
        "" if figure.size is None else f"{figure.size:,}",
        f"{_number(figure.value)} {figure.unit}",
        "" if figure.p99 is None else _number(figure.p99),
        floors,
        ", ".join(str(target) for target in figure.targets),
        "" if not figure.targets else "yes" if figure.met else "no",
    )


def _number(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
