"""Outcomes of simulations, side by side."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import label, local, span
from wvo_mcp.faces.cli.views.plain import table
from wvo_mcp.faces.cli.views.status import sparkline

Row = Mapping[str, Any]

_OUTCOMES = "order hours> tasks_per_hour> busy> wasted> waiting> away> value_days> done> failed> blocked>"
_MEASURES = {"cost_of_delay": "cost of delay, value-days", "makespan_hours": "all done after, hours"}
_CHART_COLUMNS = 48
_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def show(result: Row, seconds: float, *, plot: Path | None, quiet: bool) -> None:
    """Print the result, unless `quiet`, and write it to `plot` as SVG. Raises OSError."""
    record = plot is not None
    console = Console(highlight=False, record=record, file=StringIO() if quiet else None, width=150 if record else None)
    console.print(label(f"{_head(result)}."), Text(f"Durations: {result['durations']}.", "dim"), sep="\n")
    for title, part in (_comparison if "seeds" in result else _outcomes)(result):
        console.print(Text(), label(title), part, sep="\n")
    console.print(Text(f"Simulated in {seconds:.1f} s; nothing was written to the store.", "dim"))
    if plot is not None:
        # What it shows must not be fetched from elsewhere.
        plot.write_text(_FONTS.sub("", console.export_svg(title="wvo-mcp simulate")))


def _head(result: Row) -> str:
    if "seeds" not in result:
        first = result["policies"][0]
        return f"{first['tasks']} tasks, {first['agents']} agents, seed {first['seed']}"
    begin, count = result["first_seed"], result["seeds"]
    seeds = f"{count} seeds ({begin} to {begin + count - 1})"
    cut = f"; stopped after {count} of {result['seeds_asked']} seeds by --time-limit"
    return f"{result['tasks']} tasks, {result['agents']} agents, {seeds}{cut if count < result['seeds_asked'] else ''}"


def _outcomes(result: Row) -> Iterable[tuple[str, RenderableType]]:
    ones: list[Row] = result["policies"]
    yield "By order of work; value days: cost of delay", _table([_outcome(one) for one in ones], _OUTCOMES)
    yield "Over virtual time", _table([_curves(one) for one in ones])
    waited = [{"order": one["order"], **one["waiting_hours"]} for one in ones if one["waiting_hours"]]
    if waited:
        yield "Hours that agents waited, by reason", _table(waited)
    milestones = [{"order": one["order"], **_milestone(row)} for one in ones for row in one["milestones"]]
    if milestones:
        yield "Milestones", _table(milestones)
    left = [{"order": one["order"], **one["left"]} for one in ones if one["left"]]
    if left:
        yield "Tasks that were left, by reason", _table(left)


def _outcome(one: Row) -> Row:
    shares = {"busy": "utilisation", "wasted": "wasted", "waiting": "waiting_share", "away": "away"}
    return {
        **{name: one[name] for name in ("order", "done", "failed", "blocked")},
        **{name: f"{one[field]:.1%}" for name, field in shares.items()},
        "hours": f"{one['makespan_hours']:,.1f}",
        "tasks_per_hour": f"{one['throughput_per_hour']:.2f}",
        "value_days": f"{one['cost_of_delay']:,.0f}",
    }


def _curves(one: Row) -> Row:
    points = one["curve"][:: max(1, len(one["curve"]) // _CHART_COLUMNS)]
    return {
        "order": one["order"],
        "tasks_left": sparkline([point["remaining"] for point in points]),
        "agents_busy": sparkline([point["busy"] for point in points]),
    }


def _milestone(row: Row) -> Row:
    late = f", {span(row['late_hours'] * 3600)} late" if row["late_hours"] else ""
    done = f"{row['open']} open" if row["open"] else f"{local(row['done_at'])}{late}"
    return {"id": row["id"], "due": local(row["due_at"]), "done": done}


def _comparison(result: Row) -> Iterable[tuple[str, RenderableType]]:
    ones: list[Row] = result["policies"]
    count, first = result["seeds"], ones[0]["order"]
    for name, title in _MEASURES.items():
        rows: list[Row] = []
        for one in ones:
            value, apart = one[name]["value"], one[name]["difference_percent"]
            row = {"order": one["order"], "mean": f"{value['mean']:,.1f} \u00b1{value['margin']:,.1f}"}
            if apart is not None:
                row[f"against_{first}"] = f"{apart['mean']:+.1f} \u00b1{apart['margin']:.1f} %"
                row["better"] = f"{one[name]['better']} of {count}"
            rows.append({**row, "best_of_all": f"{one[name]['best']} of {count}"})
        yield f"{title}: means with 95 % intervals, differences seed by seed", _table(rows)


def _table(rows: Iterable[Row], columns: str = "") -> RenderableType:
    return table(rows, columns, datetime.now(UTC))
