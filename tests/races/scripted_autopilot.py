"""`wvo-mcp autopilot` with agents that do what the name of their task says: `python -m tests.races.scripted_autopilot FOLDER
[ARGUMENT ...]`, in the environment of a `Flight`. The ledger in FOLDER has a line for all that an agent used.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.flights import Flight, Step, life
from tests.support.workspace import REPOSITORY, Workspace
from wvo_mcp.__main__ import _compose
from wvo_mcp.execution.agents import scripted_program
from wvo_mcp.execution.agents.lines import LineDriver
from wvo_mcp.execution.agents.scripted import ScriptedRun
from wvo_mcp.faces.cli import main as run_command

LEDGER, GO = "ledger.jsonl", "go"
NAMES = ("scripted", "second", "third")
PROVIDERS = "".join(
    f"  {name}:\n    kind: openai\n    place: cloud\n    base_url: http://127.0.0.1:9\n    tiers:\n"
    + "".join(f"      {tier}: {{model: script, cost: {{input: 1, output: 2}}}}\n" for tier in ("low", "medium", "high"))
    for name in NAMES[1:]
)
HONEST = ("plain", "chatty", "dies", "exits", "falsely", "limited", "forks", "stops")
"""Each is done at once, in one attempt."""
FAULTY = ("loops", "silent", "fails")
"""Each is done in the second attempt, after half a minute."""


def steps_of(task_id: str, session: int) -> list[Step]:
    """What its agent does in the session of that number. What it uses differs from task to task, so that no two mistakes make
    up for each other."""
    kind, _, number = task_id.partition("-")
    size = 1000 + 7 * int(number) + session
    checkpoint: Step = {"call": "checkpoint", "with": {"summary": "half of it", "progress": 50}}
    done: list[Step] = [
        {"spend": [size, 11]},
        checkpoint,
        {"spend": [size + 1, 13]},
        {"write": f"{task_id}.txt", "text": f"{task_id}\n"},
        {"call": "complete_task", "with": {"summary": f"{task_id} is written"}},
        {"spend": [3, 1]},
    ]
    before: dict[str, list[Step]] = {
        "chatty": [*([{"say": "I think about it. " * 20}, {"print": "not JSON " * 2_000}] * 20), {"wait": 0.5}],
        "dies": [{"spend": [size, 5]}, {"die": True}],
        "exits": [{"spend": [size, 5]}, {"exit": 3}],
        "falsely": [{"limit": 3600}],
        "limited": [{"spend": [size, 5]}, {"limit": 2}, {"limit": 2}],
        "forks": [{"orphans": 2}],
        "held": [{"until": str(Path(sys.argv[1]) / GO)}],
        "stops": [{"spend": [size, 5]}, {"stop": "I think that this is enough."}],
    }
    first: dict[str, list[Step]] = {
        "loops": [{"spend": [size, 3]}, *([{"call": "plan_next"}] * 14)],
        "silent": [{"spend": [size, 3]}, {"say": "It is done, believe me."}],
        "fails": [{"spend": [size, 3]}, {"call": "fail_task", "with": {"error": "no such file"}}],
    }
    if session == 0 and kind in first:
        return first[kind]
    return [*before.get(kind, []), *done]


class _Scripts(Mapping[str, Sequence[Sequence[Step]]]):
    def __getitem__(self, task_id: str) -> Sequence[Sequence[Step]]:
        # The prompt of a session that goes on does not name it.
        return [steps_of(task_id, session) for session in range(6)] if task_id else []

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def made(folder: Path, url: str | None = None, **settings: str) -> tuple[Flight, Workspace]:
    """A repository with its store, in a database where there is an `url`, and no task yet."""
    flight, there = Flight(folder), {"WVO_DATABASE_URL": url} if url else {}
    flight.begin({}, {}, providers=PROVIDERS, settings=settings | there)
    config = {"XDG_CONFIG_HOME": flight.environ["XDG_CONFIG_HOME"]}  # what the person trusts
    return flight, Workspace(flight.root, folder / "logs", url, **settings, **config, WVO_TOOLSETS="all")


def started(flight: Flight, name: str, *arguments: str) -> "subprocess.Popen[str]":
    """What it writes is in the file NAME.log."""
    command = [sys.executable, "-m", "tests.races.scripted_autopilot", str(flight.folder), *arguments]
    with (flight.folder / f"{name}.log").open("a") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, env=flight.environ, stdout=log, stderr=log, text=True)


class SpendingRun(ScriptedRun):
    scripts = _Scripts()

    def command(self) -> Sequence[str]:
        agent, ledger = Path(__file__).with_name("spending_agent.py"), Path(sys.argv[1]) / LEDGER
        return sys.executable, "-I", "-S", str(agent), str(scripted_program.__file__), str(ledger)


def main() -> int:
    vars(life)["known_drivers"] = lambda: {"openai": LineDriver(SpendingRun)}
    return run_command(["autopilot", "--json", *sys.argv[2:]], _compose)


if __name__ == "__main__":
    sys.exit(main())
