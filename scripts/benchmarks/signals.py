"""How many recorded lines of the real programs are classified in a second, beside the mere parsing of their JSON."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import read_output

_SAMPLES = Path(__file__).resolve().parents[2] / "tests/samples/signals"
_NOW = datetime(2026, 11, 21, tzinfo=UTC)


def measure(report: Report, *, quick: bool) -> None:
    """For each program all its samples, over and over, as one long run that fails in every way."""
    for program in ("claude", "codex", "gemini"):
        once = [
            line for file in sorted(_SAMPLES.glob(f"{program}-*.jsonl")) for line in file.read_text().split("\n")[1:]
        ]
        lines = once * ((2_000 if quick else 20_000) // len(once) + 1)
        kind = ProviderKind(program)
        rates, floors = zip(*(_rates(kind, lines) for _ in range(3 if quick else 9)), strict=True)
        report.add(
            Figure(
                f"lines of {program} classified",
                "per second",
                median(rates),
                floors=[Floor("JSON alone", median(floors))],
                targets=[Target(10_000, at_least=True)],
                samples=len(rates),
            )
        )


def _rates(kind: ProviderKind, lines: Sequence[str]) -> tuple[float, float]:
    taken = _seconds(lambda: read_output(kind, lines, _NOW, exit_code=1)), _seconds(lambda: _parse(lines))
    return len(lines) / taken[0], len(lines) / taken[1]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _parse(lines: Sequence[str]) -> None:
    for line in lines:
        with suppress(ValueError):
            json.loads(line)
