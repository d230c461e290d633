"""Two real programs change one line: the second meets the conflict, mends it in its session, and lands."""

from pathlib import Path

import pytest

from tests.clients.autopilots import Project, doing, shell
from tests.clients.models.script import Call, Say
from tests.clients.programs import why_missing

pytestmark = [pytest.mark.clients, pytest.mark.requirement("MERGE-2", "MERGE-4")]
VENDORS = ("claude", "codex")
JOINED = "A shop of A and B."


@pytest.fixture(autouse=True)
def _programs() -> None:
    for vendor in VENDORS:
        if reason := why_missing(vendor):
            pytest.fail(reason)


@pytest.mark.parametrize("slow", ["codex", pytest.param("claude", marks=pytest.mark.full)])
def test_a_conflict_is_mended_by_the_program_that_meets_it(tmp_path: Path, slow: str) -> None:
    with Project(tmp_path, {"A": ("claude", []), "B": ("codex", [])}) as project:
        for task, vendor in zip("AB", VENDORS, strict=True):
            wait = "sleep 5; " if vendor == slow else ""
            begun = doing(vendor, task, f"{wait}echo 'A shop of {task}.' > README.md")
            done = Call("complete_task", {"task_id": task, "summary": "Joined.", "evidence": ["Both are named."]})
            told = [shell(vendor, f"echo '{JOINED}' > README.md"), done, Say("It is joined.")]
            # What it is told when its work comes back is in the same conversation, and is looked for first.
            scripts = project.scripts[vendor]
            scripts.clear()
            scripts |= {f"The work of {task} could not land": [*begun[:-1], *told], f"# {task}: ": begun}

        summary, done = project.autopilot("--no-wait", "--strict")

        assert sorted(one["task_id"] for one in summary["landed"]) == ["A", "B"], done.report()
        assert project.git("show", "main:README.md").strip() == JOINED
        entries = project.rows("SELECT task_id, state FROM merge_entries ORDER BY seq")
        assert sorted(state for _, state in entries) == ["conflict", "merged", "merged"], done.report()
        (second,) = [task for task, state in entries if state == "conflict"]
        launches = project.rows("SELECT task_id, client_session, outcome FROM workers ORDER BY seq")
        assert [outcome for *_, outcome in launches] == ["completed"] * 3
        sessions = {session for task, session, _ in launches if task == second}
        assert len(sessions) == 1, "it went on in its session"
        model = project.models[dict(zip("AB", VENDORS, strict=True))[second]]
        said = "\n".join(str(request.body) for request in model.requests)
        assert "could not land" in said
        assert "README.md" in said
        assert (project.root / "README.md").read_text().strip() == JOINED
        assert project.processes() == []
