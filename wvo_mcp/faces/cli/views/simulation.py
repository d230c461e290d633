"""Outcomes of simulations, side by side."""

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import Listing, clean, label, span, text
from wvo_mcp.orchestration.simulation.comparison import Compared, Estimate
from wvo_mcp.orchestration.simulation.tally import MilestoneOutcome, Outcome

_LINES: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("all done after", lambda one: f"{one.makespan_hours:,.1f} h"),
    ("tasks an hour", lambda one: f"{one.throughput_per_hour:.2f}"),
    ("agents at work", lambda one: f"{one.utilisation:.1%}"),
    ("  of it lost again", lambda one: f"{one.wasted:.1%}"),
    ("agents waiting", lambda one: f"{one.waiting_share:.1%}"),
    ("agents away", lambda one: f"{one.away:.1%}"),
    ("weighted mean until done", lambda one: f"{one.weighted_flow_hours:,.1f} h"),
    ("cost of delay, value-days", lambda one: f"{one.cost_of_delay:,.0f}"),
    ("done / failed / blocked", lambda one: f"{one.done} / {one.failed} / {one.blocked}"),
    ("attempts failed, agents lost", lambda one: f"{one.attempts_failed}, {one.agents_lost}"),
)

_MEASURES = {"cost_of_delay": "cost of delay, value-days", "makespan_hours": "all done after, hours"}


def simulation(outcomes: Sequence[Outcome], source: str, seconds: float) -> RenderableType:
    """A column for each policy."""
    first = outcomes[0]
    head = f"{first.tasks} tasks, {first.agents} agents, seed {first.seed}"
    table = Listing("", *(f"{one.order}>" for one in outcomes))
    for name, shown in _LINES:
        table.add(text(name, "dim"), *(shown(one) for one in outcomes))
    parts: list[RenderableType] = [Text(head, "bold"), Text(f"Durations: {source}.", "dim"), Text(), table.table]
    reasons = sorted({reason for one in outcomes for reason in one.waiting_hours})
    if reasons:
        waiting = Listing("agents waited, hours", *(f"{one.order}>" for one in outcomes))
        for reason in reasons:
            waiting.add(
                text(reason.replace("_", " ")), *(f"{one.waiting_hours.get(reason, 0):,.1f}" for one in outcomes)
            )
        parts += [Text(), waiting.table]
    if first.milestones:
        milestones = Listing("milestone", "due", *(f"{one.order}>" for one in outcomes))
        for place, row in enumerate(first.milestones):
            due = text(row.due_at and row.due_at[:10], "dim")
            milestones.add(text(row.id, "bold"), due, *(_reached(one.milestones[place]) for one in outcomes))
        parts += [Text(), milestones.table]
    for one in outcomes:
        if one.left:
            why = ", ".join(f"{count} {clean(reason).replace('_', ' ')}" for reason, count in sorted(one.left.items()))
            parts.append(Text(f"{one.order}: {sum(one.left.values())} tasks were left: {why}.", "yellow"))
    parts += [Text(), label(f"Simulated in {seconds:.1f} s; nothing was written.")]
    return Group(*(Padding(part, (0, 0, 0, 0)) for part in parts))


def comparison(
    found: Sequence[Compared], first: Sequence[Outcome], asked: int, source: str, seconds: float
) -> RenderableType:
    """A table for each measure, a row for each order; `first` are the outcomes of the first order."""
    against = found[0].order
    last = first[-1].seed
    head = f"{first[0].tasks} tasks, {first[0].agents} agents, {len(first)} seeds ({first[0].seed} to {last})"
    parts: list[RenderableType] = [Text(head, "bold"), Text(f"Durations: {source}.", "dim")]
    for name, title in _MEASURES.items():
        table = Listing(title, "mean>", f"against {against}>", "better>", "best of all>")
        for one in found:
            measured = one.measures[name]
            apart = measured.difference_percent
            table.add(
                text(one.order, "bold"),
                _estimate(measured.value),
                Text("") if apart is None else _difference(apart),
                "" if apart is None else f"{measured.better} of {len(first)}",
                f"{measured.best} of {len(first)}",
            )
        parts += [Text(), table.table]
    if len(first) < asked:
        parts += [Text(), Text(f"Stopped after {len(first)} of {asked} seeds: --time-limit was reached.", "yellow")]
    note = "Means with 95 % intervals; differences are taken seed by seed, below 0 is better."
    return Group(*parts, Text(), Text(note, "dim"), label(f"Simulated in {seconds:.1f} s; nothing was written."))


def _estimate(value: Estimate) -> str:
    return f"{value.mean:,.1f} \u00b1{value.margin:,.1f}"


def _difference(percent: Estimate) -> Text:
    """Coloured where the interval does not hold 0."""
    style = "" if abs(percent.mean) <= percent.margin else "green" if percent.mean < 0 else "red"
    return Text(f"{percent.mean:+.1f} \u00b1{percent.margin:.1f} %", style)


def _reached(row: MilestoneOutcome) -> Text:
    if row.done_at is None:
        return Text(f"{row.open} open" if row.open else "-", "yellow" if row.open else "dim")
    when = row.done_at[:16].replace("T", " ")
    return Text(f"{when}, {span(row.late_hours * 3600)} late", "red") if row.late_hours else Text(when, "green")
