"""The autopilot drives the real programs through a roadmap, each task in a worktree of its own."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.clients.autopilots import VENDORS, Project, doing, shell
from tests.clients.models.script import Hang, Refuse
from tests.clients.programs import why_missing
from tests.support.scale import FULL
from tests.support.waiting import eventually

pytestmark = [pytest.mark.clients, pytest.mark.requirement("WORK-1", "WORK-3", "WORK-8", "MERGE-1")]

FEW: Mapping[str, tuple[str, Sequence[str]]] = {
    "A": ("claude", []),
    "B": ("codex", []),
    "C": ("gemini", []),
    "D": ("claude", ["A", "B", "C"]),
}
MANY: Mapping[str, tuple[str, Sequence[str]]] = {
    **{f"{vendor[:2]}1": (vendor, []) for vendor in VENDORS},
    **{f"{vendor[:2]}2": (vendor, ["cl1", "co1"]) for vendor in VENDORS},
    **{f"{vendor[:2]}3": (vendor, ["cl2", "ge2"]) for vendor in VENDORS},
    **{f"{vendor[:2]}4": (vendor, ["co3"]) for vendor in VENDORS},
}
"""Twelve tasks in four layers."""


@pytest.fixture(autouse=True)
def _programs() -> None:
    for vendor in VENDORS:
        if reason := why_missing(vendor):
            pytest.fail(reason)


def test_agents_of_three_vendors_finish_a_roadmap_that_is_left_to_them(tmp_path: Path) -> None:
    tasks: Mapping[str, tuple[str, Sequence[str]]] = MANY if FULL else FEW
    with Project(tmp_path, tasks) as project:
        before = project.belongings()
        lines, keys = project.watched()
        summary, done = project.autopilot("--no-wait", "--strict")

        assert sorted(one["task_id"] for one in summary["done"]) == sorted(tasks), done.report()
        assert (summary["failed"], summary["waiting"]) == ([], [])
        told = "SELECT id, status, attempts, expiries FROM tasks ORDER BY id"
        assert project.rows(told) == [(task, "done", 0, 0) for task in sorted(tasks)]
        launches = "SELECT task_id, provider, state, outcome FROM workers ORDER BY task_id"
        assert project.rows(launches) == [
            (task, vendor, "ended", "completed") for task, (vendor, _) in sorted(tasks.items())
        ]
        checkpoints = "SELECT task_id, summary FROM checkpoints ORDER BY task_id"
        assert project.rows(checkpoints) == [(task, f"{task} is begun") for task in sorted(tasks)]
        assert all(used > 0 for (used,) in project.rows("SELECT tokens_in FROM workers"))
        for task, (_, needed) in tasks.items():
            files = project.git("ls-tree", "-r", "--name-only", f"refs/wvo/submit/{task}/1").split()
            assert {f"{one}.txt" for one in (task, *needed)} <= set(files)
            assert "notes.txt" not in files
        landed = {"project/.git/index", "project/.git/refs/heads/main", *(f"project/{task}.txt" for task in tasks)}
        after = project.belongings()
        assert {name for name in (*before, *after) if before.get(name) != after.get(name)} == landed
        assert sorted(one["task_id"] for one in summary["landed"]) == sorted(tasks)
        assert project.git("status", "--short") == "?? notes.txt\n"
        assert project.git("worktree", "list").count("\n") == 1, "what is submitted needs no worktree"
        assert project.processes() == []
        # Of what is secret, and of the prompts, nothing is an argument; nor is a key or login in what is left.
        secrets = {*keys, "dummy-anthropic", "dummy-openai", "dummy-gemini"}
        assert len(keys) >= len(VENDORS)
        assert {vendor for vendor in VENDORS if any(vendor in line for line in lines)} == set(VENDORS)
        assert [
            line for line in lines if any(word in line for word in (*secrets, *(f"# {task}: " for task in tasks)))
        ] == []
        texts = {path: path.read_bytes() for path in project.root.glob("state/**/*") if path.is_file()}
        assert {one for one in VENDORS for text in texts.values() if f'"driver": "{one}"'.encode() in text} == {
            *VENDORS
        }
        assert [path for path, text in texts.items() if any(word.encode() in text for word in secrets)] == []


@pytest.mark.full  # with scripted agents it runs with every change (tests/faults/test_autopilot.py)
@pytest.mark.requirement("WORK-7")
def test_a_killed_autopilot_leaves_no_process_and_the_next_one_resumes_its_session(tmp_path: Path) -> None:
    with Project(tmp_path, {"A": ("claude", [])}) as project:
        begun, *rest = doing("claude", "A", "echo A > A.txt")
        project.script("A", [begun, Hang(), *rest])
        with project.autopilot_beside() as first:
            assert project.models["claude"].silent.wait(120)
            first.kill()
            first.wait()
            assert eventually(lambda: project.processes() == [], seconds=60)
        summary, done = project.autopilot("--no-wait")

        assert [one["task_id"] for one in summary["done"]] == ["A"], done.report()
        assert project.rows("SELECT status, attempts, expiries FROM tasks") == [("done", 0, 0)]
        launches = project.rows("SELECT client_session, outcome FROM workers ORDER BY seq")
        assert [outcome for _, outcome in launches] == ["stopped", "completed"]
        assert len({session for session, _ in launches}) == 1


@pytest.mark.requirement("APPR-1", "APPR-2", "SAFE-2")
@pytest.mark.parametrize("vendor", VENDORS if FULL else ["claude"])
def test_a_command_that_must_be_asked_waits_for_a_person_and_holds_no_process(tmp_path: Path, vendor: str) -> None:
    with Project(tmp_path, {"A": (vendor, [])}) as project:
        push = shell(vendor, "git push origin main")
        begun, *rest = doing(vendor, "A", "echo A > A.txt")
        project.script("A", [begun, push, push, *rest])
        with project.autopilot_beside() as running:
            waiting = "SELECT approval_id, subject FROM approvals WHERE state = 'pending'"
            [(approval, subject)] = eventually(lambda: project.rows(waiting), seconds=120)
            resting = "SELECT count(*) FROM workers WHERE state = 'waiting_approval'"
            assert eventually(lambda: project.rows(resting) == [(1,)], seconds=60)
            assert eventually(lambda: [one for one in project.processes() if "autopilot" not in one] == [], seconds=60)
            assert json.loads(subject)["command"] == "git push origin main"
            assert project.rows("SELECT status, lease_expires_at FROM tasks") == [("awaiting_approval", None)]
            project.command("approve", approval)
            assert running.wait(120) == 0

        assert project.rows("SELECT status, attempts FROM tasks") == [("done", 0)]
        assert project.rows("SELECT state FROM approvals") == [("used",)]
        launches = project.rows("SELECT client_session, outcome FROM workers ORDER BY seq")
        assert len({session for session, _ in launches}) == 1
        assert [outcome for _, outcome in launches] == ["stopped", "completed"]


@pytest.mark.full
@pytest.mark.requirement("WORK-9", "PROV-4")
def test_a_limit_with_a_reset_parks_the_task_and_the_same_session_goes_on_once(tmp_path: Path) -> None:
    with Project(tmp_path, {"A": ("claude", [])}) as project:
        project.besides = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "dummy-login"}
        begun, *rest = doing("claude", "A", "echo A > A.txt")
        told = {"status": "rejected", "reset": str(int(time.time()) + 20), "representative-claim": "five_hour"}
        headers = {f"anthropic-ratelimit-unified-{name}": value for name, value in told.items()}
        # A limit is not believed at first: the session is asked once more.
        limit = Refuse(429, "rate_limit_error", "This request would exceed your limit.", 2, headers)
        project.script("A", [begun, limit, *rest])
        summary, done = project.autopilot()

        assert [one["task_id"] for one in summary["done"]] == ["A"], done.report()
        assert project.rows("SELECT status, attempts, expiries FROM tasks") == [("done", 0, 0)]
        launches = project.rows("SELECT client_session, outcome FROM workers ORDER BY seq")
        assert [outcome for _, outcome in launches] == ["limited", "completed"]
        assert len({session for session, _ in launches}) == 1
