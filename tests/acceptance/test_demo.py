"""The demonstration of the autopilot: everything in it is real but the agents."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import forked


@pytest.mark.full
@pytest.mark.requirement("WORK-1", "WORK-9", "MERGE-1", "MERGE-4")
def test_the_autopilots_demonstration_lands_its_work_and_touches_nothing_else(tmp_path: Path) -> None:
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
    assert sorted(one["task_id"] for one in summary["landed"]) == sorted(done)
    (conflict,) = [line for line in lines if line["event"] == "conflict"]
    assert conflict["task_id"] in ("parse", "totals")
    log = _git(root, "log", "--format=%s", "main").splitlines()
    assert len(log) == 1 + len(done)
    assert "shop/manual.py" in _git(root, "ls-tree", "-r", "--name-only", "main")
    assert 'PARTS = ["parse", "totals"]' in _git(root, "show", "main:shop/__init__.py")
    assert _git(root, "status", "--porcelain") == ""
    branches = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    assert branches == ["main", "wvo/figures"]  # what failed stays for people
    assert list(home.iterdir()) == []


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout
