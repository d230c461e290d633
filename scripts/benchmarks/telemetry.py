"""What telemetry costs a call: servers with and without it, by turns, beside a tool of the bare SDK that does nothing."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scripts.bench_front import SERVER
from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.over_stdio import NOTHING, Tool, client
from scripts.benchmarks.timing import in_turns, p50, p99

_ON = {"OTEL_ENABLED": "1", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
_SIZE = 10_000


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """A read, and a claim with its completion: off, off once more (that much is noise), and on. `WVO_BENCH_BEFORE` names a
    checkout to compare with: its server takes turns with the others."""
    source = seeding.kept(f"tasks-{_SIZE}", lambda: seeding.groups(_SIZE))
    rounds = 60 if quick else 600
    before = os.environ.get("WVO_BENCH_BEFORE")
    with ExitStack() as stack:
        tools: dict[str, Tool] = {}
        environs = {"off": {}, "off again": {}, "on": _ON, **({"before": {"PYTHONPATH": before}} if before else {})}
        for name, environ in environs.items():
            workspace = folder / f"telemetry-{name.replace(' ', '-')}"
            seeding.copied(source, workspace)
            tools[name] = stack.enter_context(client(SERVER, workspace, **environ))
        nothing = stack.enter_context(client(NOTHING, folder))
        for name, turn in (("plan_next", _read), ("claim_task + complete_task", _work)):
            contenders: dict[str, Callable[[], object]] = {kind: turn(tool) for kind, tool in tools.items()}
            taken = in_turns(rounds, {**contenders, "nothing": lambda: nothing("nothing")})
            off = min(p50(taken["off"]), p50(taken["off again"]))
            for kind in tools:
                report.add(
                    Figure(
                        f"{name}, telemetry {kind}",
                        "ms",
                        p50(taken[kind]),
                        size=_SIZE,
                        p99=p99(taken[kind]),
                        floors=[Floor("telemetry off", off), Floor("no-op call of the SDK", p50(taken["nothing"]))],
                        targets=[Target(1.1, "ratio")] if kind == "on" else [],
                        samples=len(taken[kind]),
                    )
                )


def _read(tool: Tool) -> Callable[[], object]:
    return lambda: tool("plan_next")


def _work(tool: Tool) -> Callable[[], object]:
    def work() -> None:
        claimed = tool("claim_task")
        tool("complete_task", task_id=claimed["task"]["id"], lease_token=claimed["lease"]["token"], summary="done")

    return work
