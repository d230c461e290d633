"""What it costs to look up an error among many known ones, and what that adds to a claim."""

import random
import time
from functools import partial
from pathlib import Path

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.domain.likeness import LEAST
from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.pattern import OFFERED, Category, Source
from wvo_mcp.domain.signature import signature
from wvo_mcp.orchestration import patterns
from wvo_mcp.ports import Transaction

_FEW = 100
_BATCH = 500
_TASKS = 60
_VOCABULARY = 20_000


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    anyio.run(_measure, report, 5_000 if quick else 100_000, 40 if quick else 400, folder / "patterns")


def _error(dice: random.Random) -> str:
    """As various as errors are: words of which few are common and most are rare, a type, sometimes a code, a frame."""
    words = [f"w{int(_VOCABULARY * dice.random() ** 3):05}".translate(_LETTERS) for _ in range(dice.randint(5, 14))]
    code = f"E{dice.randint(1_000, 9_999)} " if dice.random() < 0.2 else ""
    where = f'  File "/srv/app/{dice.random()}.py", line {dice.randint(1, 999)}, in {words[0]}\n'
    return f"{where}{dice.choice(words).title()}Error: {code}cannot {' '.join(words)}"


_LETTERS = str.maketrans("0123456789", "abcdefghij")


async def _fill(tx: Transaction, errors: list[str]) -> None:
    for error in errors:
        said = signature(error)
        if await tx.patterns.of(said) is None:
            fields = {"category": Category.SUCCESS, "source": Source.OUTCOME, "solution": "what to do"}
            await tx.patterns.add(said, fields)


async def _measure(report: Report, size: int, rounds: int, folder: Path) -> None:
    for name in ("many", "few"):
        (folder / name / "state").mkdir(parents=True)
    async with desk(folder / "many", "ann") as many, desk(folder / "few", "ann") as few:
        errors = {"many": _errors(size), "few": _errors(_FEW)}
        for one, known in ((many, errors["many"]), (few, errors["few"])):
            for start in range(0, len(known), _BATCH):
                await one.services.store.write(one.caller, partial(_fill, errors=known[start : start + _BATCH]))
        looks = {"many": await _looks(many, errors["many"], rounds), "few": await _looks(few, errors["few"], rounds)}
        claims = await _claims(many, few, rounds)
    report.add(
        Figure(
            f"look up an error among {size:,} known ones, SQLite",
            "ms",
            p50(looks["many"]),
            p99=p99(looks["many"]),
            floors=[Floor(f"among {_FEW}", p50(looks["few"]))],
            targets=[Target(20)],
            samples=rounds,
        )
    )
    report.add(
        Figure(
            f"claim_task of a task that failed, with {size:,} known errors, SQLite",
            "ms",
            p50(claims["many"]),
            p99=p99(claims["many"]),
            floors=[
                Floor("the same answer without the look-up", p50(claims["told"])),
                Floor("of one that never failed", p50(claims["few"])),
            ],
            targets=[Target(1.05, "ratio")],
            samples=len(claims["many"]),
        )
    )


def _errors(count: int) -> list[str]:
    dice = random.Random(39)
    return [_error(dice) for _ in range(count)]


async def _looks(one: Desk, known: list[str], rounds: int) -> list[float]:
    dice = random.Random(40)
    taken: list[float] = []

    async def look(tx: Transaction, text: str) -> None:
        found = await tx.patterns.alike(signature(text), OFFERED, LEAST)
        if not found:
            raise AssertionError(f"not found again: {text}")

    for _ in range(rounds):
        text = f"2026-01-02T03:04:05Z [worker] \n{dice.choice(known)}\n"
        began = time.perf_counter()
        await one.services.store.read(one.caller, partial(look, text=text))
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def _claims(many: Desk, few: Desk, rounds: int) -> dict[str, list[float]]:
    """In turns: the tasks of the one have failed and were offered a pattern, those of the other never failed."""
    for one in (many, few):
        await one.call("create_tasks", tasks=[{"id": f"T{n}", "title": f"t{n}"} for n in range(_TASKS)])

    async def offer(tx: Transaction) -> None:
        for number in range(_TASKS):
            task = await tx.tasks.get(f"T{number}")
            await tx.tasks.change(task, "task.failed_attempt", {"last_error": "x", "attempts": 1}, {})
            await tx.patterns.met(task.id, f"P-{number + 1}", f"P-{number + 1}", 1.0)

    await many.services.store.write(many.caller, offer)
    taken: dict[str, list[float]] = {"many": [], "told": [], "few": []}
    look_up = patterns.entries
    answers: dict[str, list[ContextEntry]] = {f"T{number}": [] for number in range(_TASKS)}

    async def fetch(tx: Transaction) -> None:
        for task_id in answers:
            answers[task_id] = await look_up(tx, task_id)

    async def told(_: Transaction, task_id: str) -> list[ContextEntry]:
        return answers[task_id]

    await many.services.store.read(many.caller, fetch)
    order = [("many", many), ("told", many), ("few", few)]
    try:
        for number in range(rounds):
            for name, one in order:
                patterns.entries = told if name == "told" else look_up
                asked = {"task_id": f"T{number % _TASKS}"}
                began = time.perf_counter()
                claim = await one.call("claim_task", **asked)
                taken[name].append((time.perf_counter() - began) * 1000)
                if bool(claim["context"]) == (name == "few"):
                    raise AssertionError(f"{name}: {claim['context']}")
                await one.call("release_task", **asked)
            order.reverse()
    finally:
        patterns.entries = look_up
    return taken
