"""`wvo-mcp trust`: nothing that an agent wrote into providers.yaml is run before a person has accepted it."""

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from tests.faces.cli.shell import Shell
from tests.support.fixed_rules import FixedRules
from tests.support.stores import a_store
from tests.support.yard import JOURNAL, git
from wvo_mcp.execution.workspaces.places import Worktrees
from wvo_mcp.ports.places import PlaceAsk

pytestmark = pytest.mark.requirement("SAFE-4")


@pytest.fixture
def planted(shell: Shell) -> Path:
    """A file that exists once the planted command was run."""
    shell("init")
    mark = shell.root / "planted"
    path = shell.root / "state" / "providers.yaml"
    server = "  server:\n    kind: openai\n    place: cloud\n    base_url: http://127.0.0.1:8000/v1\n"
    path.write_text(
        "providers:\n"
        + server
        + f"    key_command: touch {mark}\n    tiers: {{low: {{model: m}}, high: {{model: m}}}}\n"
    )
    return mark


def test_what_init_wrote_is_accepted(shell: Shell) -> None:
    shell("init")

    assert shell("trust").json["changes"] == []
    assert shell("auth-status").json["problem"] is None


def test_a_planted_command_is_run_by_nobody_until_a_person_accepts_it(
    shell: Shell, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = shell("auth-status").json
    checks = shell("doctor").json["checks"]

    assert "server" in status["problem"]
    assert "wvo-mcp trust" in status["problem"]
    assert [check["outcome"] for check in checks if check["check"] == "trust"] == ["warn"]
    assert not planted.exists()
    shown = shell("trust").json
    assert ("providers", "server.key_command") in [(one["part"], one["field"]) for one in shown["changes"]]
    assert shown["accepted"] is False
    with monkeypatch.context() as agent:
        agent.setenv("CLAUDECODE", "1")
        assert shell("trust", "--yes").error["code"] == "forbidden"
    assert not planted.exists()

    accepted = shell("trust", "--yes").json

    assert (accepted["accepted"], len(accepted["sha256"]["providers"])) == (True, 64)
    assert Path(accepted["file"]).is_relative_to(shell.home)
    assert shell("trust").json["changes"] == []
    assert shell("auth-status").json["problem"] is None
    assert planted.exists()


def test_a_policy_that_allows_more_waits_for_a_person(shell: Shell) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands: {allow: [docker], block: [make]}\n")

    shown = shell("trust").json["changes"]
    assert shown == [{"part": "policy", "field": "commands.allow", "accepted": None, "stated": ["docker"]}]

    assert list(shell("trust", "--yes").json["sha256"]) == ["policy"]
    assert shell("trust").json["changes"] == []


def test_a_broken_policy_is_named_with_its_line(shell: Shell) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands:\n  blok: []\n")

    assert "policy.yaml:2: commands.blok: unknown key 'blok'" in shell("trust").error["message"]


@pytest.mark.requirement("SAFE-1")
def test_what_was_changed_of_the_repository_is_shown_and_accepted(shell: Shell) -> None:
    git(shell.root, "init", "-q", "-b", "main")
    git(
        shell.root,
        "-c",
        "user.name=P",
        "-c",
        "user.email=p@example.org",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "begin",
    )
    shell("init")
    shell("add", "One")

    async def opened() -> None:
        store = a_store(shell.root / "state", None)
        await store.open()
        rules, state = FixedRules(), shell.root / "state"
        await Worktrees(
            root=shell.root,
            folder=state / "worktrees",
            logs=state / "workers",
            store=cast("Any", store),
            caller=JOURNAL,
            rules=rules,
        ).open(PlaceAsk(task_id="T1", lease_token=1, slot=0))
        await store.close()

    anyio.run(opened)
    assert shell("trust").json["changes"] == []
    git(shell.root, "config", "core.hooksPath", "theirs")

    (change,) = shell("trust").json["changes"]
    assert (change["part"], change["field"]) == ("repository", "config: core.hookspath is now 'theirs'")
    assert shell("trust", "--yes").json["accepted"] is True
    assert shell("trust").json["changes"] == []
