"""The demonstration of the autopilot: everything in it is real but the agents."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import forked


@pytest.mark.full
@pytest.mark.requirement("WORK-1", "WORK-9", "MERGE-1")
def test_the_autopilots_demonstration_ends_with_pinned_work_and_touches_nothing_else(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "LANG": "C.UTF-8"}

    ran = forked.run(["wvo_mcp", "autopilot", "--demo", "--json"], env=environ, cwd=tmp_path, timeout=200)

    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    summary = next(line for line in lines if line["event"] == "summary")
    done = [one["task_id"] for one in summary["done"]]
    assert sorted(done) == ["command", "manual", "model", "parse", "store", "totals"]
    assert [one["task_id"] for one in summary["failed"]] == ["figures"]
    (refused,) = [line for line in lines if line["event"] == "refused"]
    assert (refused["task_id"], refused["command"]) == ("store", "rm -rf /srv/shop/orders")
    root = Path(lines[-1]["root"])
    pinned = _git(root, "for-each-ref", "--format=%(refname)", "refs/wvo/submit").split()
    assert pinned == sorted(f"refs/wvo/submit/{task_id}/1" for task_id in done)
    # The work of what a task depends on is in its own.
    assert "shop/parse.py" in _git(root, "ls-tree", "-r", "--name-only", "refs/wvo/submit/command/1")
    assert _git(root, "status", "--porcelain") == ""
    assert _git(root, "log", "--oneline", "main").count("\n") == 1
    assert list(home.iterdir()) == []


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout
