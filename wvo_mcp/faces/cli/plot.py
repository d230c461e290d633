"""A drawing of simulations as SVG: what is left to do, and how many agents work, over virtual time."""

import math
from collections.abc import Callable, Sequence
from html import escape

from wvo_mcp.orchestration.simulation.tally import Outcome, Point

_WIDTH, _LEFT, _RIGHT = 900, 70, 24
_TOP, _HEIGHT, _GAP = 92, 230, 66
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")
"""Told apart by people who see no red or green as well: the dashes differ too."""
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#d8dee4"


def drawing(outcomes: Sequence[Outcome]) -> str:
    """One SVG document."""
    hours = max((one.makespan_hours for one in outcomes), default=0.0) or 1.0
    unit, name = (24.0, "days") if hours > 72 else (1.0, "hours") if hours > 2 else (1 / 60, "minutes")
    across = hours / unit
    height = _TOP + 2 * _HEIGHT + _GAP + 56
    most = max(one.tasks for one in outcomes) or 1
    first = outcomes[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 26, f"{first.tasks:,} tasks, {first.agents:,} agents, seed {first.seed}", size=16, weight=600),
        *_legend(outcomes),
        *_panel(_TOP, "tasks left", most, across, name, last=False),
        *_panel(_TOP + _HEIGHT + _GAP, "agents at work", first.agents, across, name, last=True),
    ]
    for place, one in enumerate(outcomes):
        left = _steps(one.curve, lambda point: point.remaining, unit, across, _nice_top(most), _TOP)
        busy = _steps(
            one.curve[1:], lambda point: point.busy, unit, across, _nice_top(first.agents), _TOP + _HEIGHT + _GAP
        )
        parts += [_line(left, place, 2.0), _line(busy, place, 1.5)]
    return "\n".join([*parts, "</svg>", ""])


def _legend(outcomes: Sequence[Outcome]) -> list[str]:
    parts: list[str] = []
    x = _LEFT
    for place, one in enumerate(outcomes):
        label = f"{one.order}: {one.makespan_hours:,.1f} h, {one.utilisation:.0%} at work"
        parts += [_line([(x, 48), (x + 28, 48)], place, 2.5), _text(x + 35, 52, label, colour=_FAINT)]
        x += 35 + 6.4 * len(label) + 24
    return parts


def _panel(top: float, title: str, most: float, across: float, unit: str, *, last: bool) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, top + _HEIGHT
    highest = _nice_top(most)
    parts = [_text(_LEFT, top - 8, title, weight=600)]
    for value in _ticks(highest):
        y = bottom - value / highest * _HEIGHT
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{value:,g}", anchor="end", colour=_FAINT))
    for value in _ticks(across):
        x = _LEFT + value / across * (right - _LEFT)
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="{_INK}"/>')
        parts.append(_text(x, bottom + 19, f"{value:,g}", anchor="middle", colour=_FAINT))
    parts.append(f'<path d="M{_LEFT} {top}V{bottom}H{right}" fill="none" stroke="{_INK}"/>')
    if last:
        parts.append(_text((_LEFT + right) / 2, bottom + 40, f"{unit} of virtual time", anchor="middle", colour=_FAINT))
    return parts


def _steps(
    curve: Sequence[Point], value: Callable[[Point], float], unit: float, across: float, highest: float, top: float
) -> list[tuple[float, float]]:
    wide = _WIDTH - _RIGHT - _LEFT
    return [
        (_LEFT + point.hours / unit / across * wide, top + _HEIGHT - value(point) / highest * _HEIGHT)
        for point in curve
    ]


def _line(points: Sequence[tuple[float, float]], place: int, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = _DASHES[place % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    colour = _COLOURS[place % len(_COLOURS)]
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"{dashed}/>'


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: int = 400, anchor: str = "start", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _ticks(highest: float) -> list[float]:
    """From nothing up to at most `highest`, four to ten of them at round numbers."""
    step = _round_step(highest)
    return [round(step * number, 6) for number in range(int(highest / step + 1e-9) + 1)]


def _nice_top(most: float) -> float:
    step = _round_step(most)
    return step * math.ceil(most / step - 1e-9)


def _round_step(highest: float) -> float:
    rough = highest / 6
    power = 10 ** math.floor(math.log10(rough))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))
