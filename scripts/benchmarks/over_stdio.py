"""Calls as a client makes them, over stdio, beside a tool of the bare SDK that does nothing and the bare SQL."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from scripts.bench_front import HELLO, INITIALIZED, SERVER, ask
from scripts.benchmarks import seeding
from scripts.benchmarks.bare import Bare, note
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.timing import in_turns, p50, p99

READ, WRITE = Target(1.5, "ratio"), Target(2.5, "ratio")
NOTHING = (sys.executable, str(Path(__file__).parents[1] / "bench_front.py"), "--serve", "floor")
_LIMITS = {"WVO_AUTOPILOT_WIP_LIMIT": "1000000", "WVO_AGENT_WIP_LIMIT": "1000000", "WVO_AGENT_ID": "bench"}

Tool = Callable[..., dict[str, Any]]


@contextmanager
def client(command: Sequence[str], workspace: Path, **settings: str) -> Generator[Tool]:
    """A server and a way to call its tools. Raises RuntimeError for any answer that is an error."""
    environ = {**os.environ, **_LIMITS, "ROOT": str(workspace), **settings}
    numbers = itertools.count(1)
    # Not here: `-m` looks in the current folder first, and this checkout would stand in for any other.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=workspace) as server:

        def call(name: str, **arguments: Any) -> dict[str, Any]:
            asked = {"name": name, "arguments": arguments}
            answer = ask(server, {"jsonrpc": "2.0", "id": next(numbers), "method": "tools/call", "params": asked})
            if answer["result"].get("isError"):
                raise RuntimeError(f"{name} was answered {answer['result']}")
            return answer["result"]["structuredContent"]

        try:
            ask(server, HELLO, INITIALIZED)
            yield call
        finally:
            server.kill()


def measure(report: Report, *, sizes: Sequence[int], quick: bool, folder: Path) -> None:
    """The four calls of the working loop at each size, and how they grow from the smallest to the largest."""
    rounds = 100 if quick else 400
    medians: dict[tuple[str, str], list[float]] = {}
    for size in sizes:
        source = seeding.kept(f"tasks-{size}", lambda size=size: seeding.groups(size))
        ours, theirs = folder / f"stdio-{size}", folder / f"sql-{size}"
        seeding.copied(source, ours)
        with (
            client(SERVER, ours) as tool,
            client(NOTHING, folder) as nothing,
            closing(Bare(seeding.copied(source, theirs))) as bare,
        ):
            for figure in _calls(tool, nothing, bare, size, rounds):
                report.add(figure)
                medians.setdefault((figure.name, "stdio"), []).append(figure.value)
                medians.setdefault((figure.name, "SQL"), []).append(figure.floors[1].value)
        for used in (ours, theirs):
            _forget(used)
    if len(sizes) > 1:
        for (name, where), values in medians.items():
            growth = Figure(
                f"{name} {where}: growth of p50 from {sizes[0]:,} to {sizes[-1]:,}",
                "x",
                values[-1] / values[0],
                targets=[Target(1.5 if where == "stdio" else 1.8)],
            )
            report.add(growth)


def _calls(tool: Tool, nothing: Tool, bare: Bare, size: int, rounds: int) -> Generator[Figure]:
    held = tool("claim_task")["task"]["id"]
    bare_held = bare.claim()
    assert bare_held is not None
    numbers = itertools.count()

    def work() -> None:
        claimed = tool("claim_task")
        tool("complete_task", task_id=claimed["task"]["id"], lease_token=claimed["lease"]["token"], summary="done")

    def idle_twice() -> None:
        nothing("nothing")
        nothing("nothing")

    def remember() -> None:
        number = next(numbers)
        tool("context_write", topic=f"bench-{number % 20}", content=note(number))

    loops: list[tuple[str, Target, Callable[[], object], Callable[[], object], Callable[[], object]]] = [
        ("plan_next", READ, lambda: tool("plan_next"), lambda: nothing("nothing"), bare.plan),
        ("claim_task + complete_task", WRITE, work, idle_twice, bare.claim_and_complete),
        ("context_write", WRITE, remember, lambda: nothing("nothing"), bare.remember),
        (
            "checkpoint",
            WRITE,
            lambda: tool("checkpoint", task_id=held, summary=note(next(numbers))),
            lambda: nothing("nothing"),
            lambda: bare.checkpoint(bare_held),
        ),
    ]
    for name, target, product, idle, sql in loops:
        taken = in_turns(rounds, {"product": product, "idle": idle, "sql": sql})
        yield Figure(
            name,
            "ms",
            p50(taken["product"]),
            size=size,
            p99=p99(taken["product"]),
            floors=[
                Floor(
                    "two no-op calls of the SDK" if idle is idle_twice else "no-op call of the SDK", p50(taken["idle"])
                ),
                Floor("bare SQL", p50(taken["sql"])),
            ],
            targets=[target],
            samples=len(taken["product"]),
        )


def measure_shapes(report: Report, *, quick: bool, folder: Path) -> None:
    """A task that 10,000 wait for, and a chain of 5,000: completing, and adding at the end."""
    hubs, width, length = (4, 1_000, 500) if quick else (8, 10_000, 5_000)
    source = seeding.kept(f"fan-{hubs}-{width}", lambda: seeding.fan(hubs, width))
    with _both(source, folder / "fan") as (tool, bare):
        claims = [tool("claim_task")["task"]["id"] for _ in range(hubs)]
        bare_claims = [bare.claim() for _ in range(hubs)]
        ours, theirs = iter(claims), iter(bare_claims)
        taken = in_turns(
            hubs - 2,
            {
                "product": lambda: tool("complete_task", task_id=next(ours), summary="done"),
                "sql": lambda: bare.complete(str(next(theirs))),
            },
            warm_up=1,
        )
        report.add(_shape(f"complete a task that {width:,} wait for", hubs * (width + 1), taken))
    source = seeding.kept(f"chain-{length}", lambda: seeding.chain(length))
    with _both(source, folder / "chain") as (tool, bare):

        def step() -> None:
            tool("complete_task", task_id=tool("claim_task")["task"]["id"], summary="done")

        taken = in_turns(100, {"product": step, "sql": bare.claim_and_complete})
        report.add(_shape(f"claim and complete along a chain of {length:,}", length, taken))
        numbers, bare_numbers = itertools.count(length), itertools.count(length)

        def append() -> None:
            number = next(numbers)
            task = {"id": f"chain-{number:05}", "title": "one more", "depends_on": [f"chain-{number - 1:05}"]}
            tool("create_tasks", tasks=[task])

        def bare_append() -> None:
            number = next(bare_numbers)
            bare.append(f"chain-{number:05}", f"chain-{number - 1:05}")

        taken = in_turns(40, {"product": append, "sql": bare_append})
        report.add(_shape(f"add a task at the end of a chain of {length:,}", length, taken))


@contextmanager
def _both(source: Path, folder: Path) -> Generator[tuple[Tool, Bare]]:
    ours, theirs = folder / "ours", folder / "theirs"
    seeding.copied(source, ours)
    with client(SERVER, ours) as tool, closing(Bare(seeding.copied(source, theirs))) as bare:
        yield tool, bare


def _shape(name: str, size: int, taken: dict[str, list[float]]) -> Figure:
    floors = [Floor("bare SQL", p50(taken["sql"]))]
    return Figure(
        name,
        "ms",
        p50(taken["product"]),
        size=size,
        p99=p99(taken["product"]),
        floors=floors,
        samples=len(taken["product"]),
    )


def _forget(workspace: Path) -> None:
    for file in (workspace / "state").glob("state.db*"):
        file.unlink()
