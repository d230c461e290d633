"""`wvo-mcp autopilot --demo`: the real autopilot at work in a temporary project, with agents that follow a script. No model,
no account, nothing of the person's."""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.execution.agents.scripted import Scripts, scripted
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.faces.cli.running import Lines, Runner, drive
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

WORKERS = 3
_DOLLARS, _WORKER_DOLLARS = 1.0, 0.2
_THINKS = 0.4
"""Seconds that an agent seems to think, so that a person can follow."""
_PROVIDERS = """\
providers:
  scripted:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9    # nobody is asked: the agents of the demo follow a script
    tiers:
      low: {model: a script, cost: {input: 3, output: 15}}
"""
_TASKS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("model", "Describe an order", ()),
    ("parse", "Read orders from a file", ("model",)),
    ("store", "Keep orders in a folder", ("model",)),
    ("totals", "Add up an order", ("model",)),
    ("figures", "Fetch the figures of last year", ()),
    ("command", "Make it a command", ("parse", "store", "totals")),
    ("compare", "Compare with last year", ("figures", "totals")),
    ("manual", "Write the manual", ("command",)),
)
_WIPE = "rm -rf /srv/shop/orders"


def show_demo(application: Runner, *, as_json: bool, screen: Lines) -> int:
    """The exit code."""
    folder = Path(tempfile.mkdtemp(prefix="wvo-demo-")).resolve()
    root = folder / "shop"
    _make(root)
    for name in [name for name in os.environ if name.startswith("WVO_") or name == "CLAUDE_PROJECT_DIR"]:
        del os.environ[name]
    os.environ |= {"ROOT": str(root), "XDG_CONFIG_HOME": str(folder / "config")}
    os.environ["WVO_WORKER_MAX_COST_USD"] = f"{_WORKER_DOLLARS}"
    settings = settings_of(Project(os.environ, str(root)))
    Trust(os.environ, root).accept(PROVIDERS, parts_of(parse(_PROVIDERS.encode(), "providers.yaml")))
    if not as_json:
        said = "A demonstration: agents that follow a script, no model, made-up dollars."
        click.secho(said, bold=True)
        click.echo(f"{len(_TASKS)} tasks in a temporary project, {root}\n")
    options = AutopilotOptions(agents=WORKERS, max_cost=_DOLLARS, wait=False)
    driver = {"openai": scripted(_scripts())}
    code = asyncio.run(drive(application, settings, options, screen, dry_run=False, drivers=driver))
    pinned = _git(root, "for-each-ref", "--format=%(objectname:short=10) %(refname)", "refs/wvo/submit").splitlines()
    if as_json:
        screen.news({"event": "demo", "root": str(root), "pinned": pinned})
        return code
    click.secho("\nThe work of each task is a commit, pinned beside your branches:", bold=True)
    for line in pinned:
        click.echo(f"  {line}")
    click.echo(
        f"\nLook at it:  cd {root}\n"
        f"             git show --stat {pinned[0].split()[1] if pinned else 'main'}\n"
        "             wvo-mcp workers; wvo-mcp worker-log store; wvo-mcp events\n"
        "In your own project:  wvo-mcp init, wvo-mcp doctor, then wvo-mcp autopilot\n"
        f"To remove all of the demonstration:  rm -r {folder}"
    )
    return code


def _make(root: Path) -> None:
    """A repository with one commit, a roadmap, and providers."""
    tasks = [{"id": task_id, "title": title, "depends_on": list(needs)} for task_id, title, needs in _TASKS]
    for task in tasks:
        task |= {"max_attempts": 1, "type": "generation", "complexity": 2}
    epic = {"id": "shop", "title": "A shop", "tasks": tasks}
    files = {
        "README.md": "# Shop\n",
        ".gitignore": "/state/*\n!/state/roadmap.yaml\n!/state/providers.yaml\n",
        "state/roadmap.yaml": json.dumps({"epics": [epic]}, indent=1) + "\n",
        "state/providers.yaml": _PROVIDERS,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message=A shop to be")


def _git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=wvo-mcp demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *identity, "-c", "core.hooksPath=/dev/null", *arguments]
    done = subprocess.run(command, cwd=root, env=clean, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def _scripts() -> Scripts:
    scripts = {task_id: [_steps(task_id, title)] for task_id, title, _ in _TASKS}
    refused = {"say": "Then I leave what is there, and begin with an empty folder of our own."}
    scripts["store"][0][2:2] = [{"say": "There are old orders; I clear them away."}, {"run": _WIPE}, _pause(), refused]
    why = "there is no file with figures of last year"
    scripts["figures"] = [[*scripts["figures"][0][:2], {"call": "fail_task", "with": {"error": why, "retry": False}}]]
    return scripts


def _steps(task_id: str, title: str) -> list[Mapping[str, Any]]:
    code = f'"""{title}."""\n\n\ndef {task_id}() -> str:\n    return "{title}"\n'
    return [
        {"say": f"I begin: {title}."},
        _pause(),
        {"write": f"shop/{task_id}.py", "text": code},
        {"use": {"in": 1_800, "out": 240}},
        {"call": "checkpoint", "with": {"summary": f"shop/{task_id}.py is written", "progress": 60}},
        _pause(),
        {"run": f"python3 -m py_compile shop/{task_id}.py && rm -r shop/__pycache__"},
        {"use": {"in": 3_100, "out": 410}},
        _pause(),
        {"call": "complete_task", "with": {"summary": f"{title}: shop/{task_id}.py"}},
    ]


def _pause() -> Mapping[str, Any]:
    return {"wait": _THINKS}
