"""`wvo-mcp autopilot --demo`: the real autopilot at work in a temporary project, with agents that follow a script. No model,
no account, nothing of the person's.

Two tasks change one line at the same time: what lands second meets a conflict, which its agent resolves in its session.
"""

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
from wvo_mcp.execution.roadmap.rules import open_differences
from wvo_mcp.execution.trust import PROVIDERS, ROADMAP, Trust
from wvo_mcp.faces.cli.running import Lines, Runner, drive
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

WORKERS = 3
_DOLLARS, _WORKER_DOLLARS = 1.0, 0.2
_THINKS = 0.4
_THINKS_WATCHED = 2.0
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
_PACKAGE = "shop/__init__.py"
_RIVALS = ("parse", "totals")
_VERIFY = (
    'python3 -c \'import ast, pathlib; [ast.parse(file.read_text()) for file in pathlib.Path("shop").glob("*.py")]\''
)
_WIPE = "rm -rf /srv/shop/orders"


def show_demo(application: Runner, page: int | None, *, as_json: bool, screen: Lines) -> int:
    """The exit code. With the port of a page, agents think longer, for the person opens it first."""
    folder = Path(tempfile.mkdtemp(prefix="wvo-demo-")).resolve()
    root = folder / "shop"
    begin = _make(root)
    for name in [name for name in os.environ if name.startswith("WVO_") or name == "CLAUDE_PROJECT_DIR"]:
        del os.environ[name]
    os.environ |= {"ROOT": str(root), "XDG_CONFIG_HOME": str(folder / "config")}
    os.environ["WVO_WORKER_MAX_COST_USD"] = f"{_WORKER_DOLLARS}"
    settings = settings_of(Project(os.environ, str(root)))
    trust = Trust(os.environ, root)
    trust.accept(PROVIDERS, parts_of(parse(_PROVIDERS.encode(), "providers.yaml")))
    trust.accept(ROADMAP, open_differences(settings.roadmap, trust)[0])
    if not as_json:
        said = "A demonstration: agents that follow a script, no model, made-up dollars."
        click.secho(said, bold=True)
        click.echo(f"{len(_TASKS)} tasks in a temporary project, {root}\n")
    options = AutopilotOptions(agents=WORKERS, max_cost=_DOLLARS, wait=False, page=page)
    driver = {"openai": scripted(_scripts(folder, _THINKS if page is None else _THINKS_WATCHED))}
    code = asyncio.run(drive(application, settings, options, screen, dry_run=False, drivers=driver))
    landed = _git(root, "log", "--reverse", "--format=%h %s", f"{begin}..main").splitlines()
    if as_json:
        screen.news({"event": "demo", "root": str(root), "landed": landed})
        return code
    click.secho("\nThe work of each finished task is a commit of main now:", bold=True)
    for line in landed:
        click.echo(f"  {line}")
    click.echo(
        f"\nLook at it:  cd {root}\n"
        "             git log --stat main; wvo-mcp merge queue; wvo-mcp events --task-id totals\n"
        "             wvo-mcp workers; wvo-mcp worker-log store; wvo-mcp events; wvo-mcp serve --http\n"
        "In your own project:  wvo-mcp init, wvo-mcp doctor, then wvo-mcp autopilot\n"
        f"To remove all of the demonstration:  rm -r {folder}"
    )
    return code


def _make(root: Path) -> str:
    """A repository with one commit, which is returned, a roadmap, and providers."""
    tasks = [{"id": task_id, "title": title, "depends_on": list(needs)} for task_id, title, needs in _TASKS]
    for task in tasks:
        task |= {"max_attempts": 1, "type": "generation", "complexity": 2}
    roadmap = {"project": {"verify": [_VERIFY]}, "epics": [{"id": "shop", "title": "A shop", "tasks": tasks}]}
    files = {
        "README.md": "# Shop\n",
        _PACKAGE: _package(),
        ".gitignore": "/state/*\n!/state/roadmap.yaml\n!/state/providers.yaml\n",
        "state/roadmap.yaml": json.dumps(roadmap, indent=1) + "\n",
        "state/providers.yaml": _PROVIDERS,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message=A shop to be")
    return _git(root, "rev-parse", "HEAD").strip()


def _git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=wvo-mcp demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *identity, "-c", "core.hooksPath=/dev/null", *arguments]
    done = subprocess.run(command, cwd=root, env=clean, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def _package(*parts: str) -> str:
    return f'"""A shop."""\n\nPARTS = {json.dumps(parts)}\n'


def _scripts(folder: Path, thinks: float) -> Scripts:
    """`folder`: where the two that meet in a conflict wait for each other."""
    pause = {"wait": thinks}
    scripts = {task_id: [_steps(task_id, title, pause)] for task_id, title, _ in _TASKS}
    for one, other in (_RIVALS, _RIVALS[::-1]):
        *steps, complete = scripts[one][0]
        meet = [
            {"write": _PACKAGE, "text": _package(one)},
            {"touch": f"{folder}/{one}"},
            {"until": f"{folder}/{other}"},
        ]
        mended = {"write": _PACKAGE, "text": _package(*_RIVALS)}
        mend = [{"say": f"{other} landed first. I keep what both of us meant."}, mended, pause, complete]
        scripts[one] = [[*steps, *meet, complete, {"stop": "I am done."}, *mend]]
    refused = {"say": "Then I leave what is there, and begin with an empty folder of our own."}
    scripts["store"][0][2:2] = [{"say": "There are old orders; I clear them away."}, {"run": _WIPE}, pause, refused]
    why = "there is no file with figures of last year"
    scripts["figures"] = [[*scripts["figures"][0][:2], {"call": "fail_task", "with": {"error": why, "retry": False}}]]
    return scripts


def _steps(task_id: str, title: str, pause: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    code = f'"""{title}."""\n\n\ndef {task_id}() -> str:\n    return "{title}"\n'
    return [
        {"say": f"I begin: {title}."},
        pause,
        {"write": f"shop/{task_id}.py", "text": code},
        {"use": {"in": 1_800, "out": 240}},
        {"call": "checkpoint", "with": {"summary": f"shop/{task_id}.py is written", "progress": 60}},
        pause,
        {"run": f"python3 -m py_compile shop/{task_id}.py && rm -r shop/__pycache__"},
        {"use": {"in": 3_100, "out": 410}},
        pause,
        {"call": "complete_task", "with": {"summary": f"{title}: shop/{task_id}.py"}},
    ]
