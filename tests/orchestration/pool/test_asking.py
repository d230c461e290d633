"""What a worker is told when it asks for permission (WORK-3, SAFE-2): yes, no, or that a person must decide."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.launches import launch, slot
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.agents import PermissionRequest
from wvo_mcp.domain.approval import ApprovalState
from wvo_mcp.domain.policy import ALLOWED, Judgement, SafetyPolicy, Verdict
from wvo_mcp.domain.task import Status
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.orchestration.pool.asking import Asker, Reply

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-2")]
CLAUDE = FixedProviders(only("claude"))
WORKSPACE = Path("/nowhere/T1")


class Fixed:
    """`ports.safety.Judge` by the first word."""

    def __init__(self, asks: int = 20) -> None:
        self._asks = asks

    async def refresh(self) -> None: ...

    def policy(self) -> SafetyPolicy:
        return SafetyPolicy(asks=self._asks)

    def problem(self) -> str | None:
        return None

    def unaccepted(self) -> str | None:
        return None

    def around(self, cwd: str | None) -> tuple[Path, Path]:
        return WORKSPACE, WORKSPACE

    def command(self, command: str, cwd: Path, workspace: Path, *, attended: bool) -> Judgement:
        assert not attended
        return self._say(command.split()[0])

    def paths(self, paths: Sequence[str], cwd: Path, workspace: Path, *, writes: bool) -> Judgement:
        return self._say("ask" if writes else "allow")

    def tool(self, name: str) -> Judgement:
        return self._say(name)

    def _say(self, word: str) -> Judgement:
        known = {"ask": Verdict.ASK, "deny": Verdict.DENY, "watch": Verdict.WATCH}
        verdict = known.get(word, Verdict.ALLOW)
        return ALLOWED if verdict is Verdict.ALLOW else Judgement(verdict, word, "That is why.", word)


async def an_asker(bench: Bench, judge: Fixed | None = None) -> Asker:
    if not (await bench.call("list_tasks"))["tasks"]:
        await bench.create(a_task("A"))
    worker = (await launch(bench, CLAUDE, caller=slot(1))).started
    return Asker(bench.store, slot(1), bench.policy, judge or Fixed(), worker, WORKSPACE)


def run(command: str, cwd: str | None = None) -> PermissionRequest:
    return PermissionRequest("r1", "Bash", command=command, cwd=cwd)


async def test_an_allowed_command_is_answered_without_the_store(bench: Bench) -> None:
    asker = await an_asker(bench)

    class Away:
        async def write(self, *_: object, **__: object) -> None:
            raise AssertionError("the store was asked")

    asker._store = Away()  # type: ignore[assignment]
    assert await asker.reply(run("ls")) == Reply(allowed=True)


async def test_a_denied_command_is_recorded_and_shown_to_people(bench: Bench) -> None:
    asker = await an_asker(bench)

    assert await asker.reply(run("deny --token sk-ant-api03-" + "a" * 80)) == Reply(False, "That is why.")

    (violation,) = await bench.read(lambda tx: tx.violations.page("A", 10))
    assert (violation["kind"], violation["verdict"], violation["rule"]) == ("command", "deny", "deny")
    assert "sk-ant" not in violation["subject"], "secrets are redacted"
    assert ("violation", "warning", "A") in await bench.alerts()
    assert (await bench.call("get_task", task_id="A"))["task"]["status"] == "in_progress"


async def test_what_is_watched_is_done_and_recorded(bench: Bench) -> None:
    asker = await an_asker(bench)
    assert (await asker.reply(run("watch x"))).allowed
    assert [one["verdict"] for one in await bench.read(lambda tx: tx.violations.page("A", 10))] == ["watch"]
    assert ("violation", "warning", "A") not in await bench.alerts()


async def test_an_approved_command_passes_once_and_only_where_it_was_asked(bench: Bench) -> None:
    asker = await an_asker(bench)
    reply = await asker.reply(run("ask me", str(WORKSPACE / "src")))
    assert (reply.allowed, reply.approval_id) == (False, "A-1")
    assert "It waits for approval A-1" in reply.reason
    assert (await bench.call("get_task", task_id="A"))["task"]["status"] == Status.AWAITING_APPROVAL
    again = await asker.reply(run("ask me too"))
    assert (again.allowed, again.approval_id) == (False, "A-1"), "the task waits already"

    await bench.call("approve", OWNER, id="A-1")
    asker = await an_asker(bench)

    assert not (await asker.reply(run("ask me", str(WORKSPACE)))).allowed, "another folder"
    await bench.call("approve", OWNER, id="A-2")
    asker = await an_asker(bench)
    assert (await asker.reply(run("ask me", str(WORKSPACE / "src")))).allowed
    used = await bench.read(lambda tx: tx.approvals.get("A-1"))
    assert used.state is ApprovalState.USED
    assert not (await asker.reply(run("ask me", str(WORKSPACE / "src")))).allowed, "it was used"


async def test_what_the_tool_asked_with_a_secret_is_what_the_worker_may_run(bench: Bench) -> None:
    asker = await an_asker(bench)
    command = "ask --token sk-ant-api03-" + "a" * 80
    await bench.call("approval_request", slot(1), task_id="A", command=command)
    await bench.call("approve", OWNER, id="A-1")
    asker = await an_asker(bench)

    assert (await asker.reply(run(command))).allowed
    shown = (await bench.read(lambda tx: tx.approvals.get("A-1"))).subject
    assert "sk-ant" not in shown["command"]


async def test_a_denied_command_is_not_asked_again(bench: Bench) -> None:
    asker = await an_asker(bench)
    await asker.reply(run("ask me"))
    await bench.call("deny", OWNER, id="A-1", reason="use the script")

    reply = await (await an_asker(bench)).reply(run("ask me"))

    assert (reply.allowed, reply.approval_id) == (False, None)
    assert "A-1: a person denied this: use the script" in reply.reason


async def test_a_task_that_asks_too_often_is_refused(bench: Bench) -> None:
    asker = await an_asker(bench, Fixed(asks=0))
    reply = await asker.reply(run("ask me"))
    assert (reply.allowed, reply.approval_id) == (False, None)
    assert "asked too often" in reply.reason


async def test_a_file_that_is_written_is_approved_with_what_is_written(bench: Bench) -> None:
    asker = await an_asker(bench)
    write = PermissionRequest("r1", "Write", paths=(".mcp.json",), input={"file_path": ".mcp.json", "content": "{}"})
    assert (await asker.reply(write)).approval_id == "A-1"
    await bench.call("approve", OWNER, id="A-1")
    asker = await an_asker(bench)

    other = PermissionRequest("r2", "Write", paths=(".mcp.json",), input={"file_path": ".mcp.json", "content": "evil"})
    assert not (await asker.reply(other)).allowed
    subject = (await bench.read(lambda tx: tx.approvals.get("A-1"))).subject
    assert (subject["command"], subject["cwd"]) == ('Write .mcp.json {"content": "{}"}', ".")


@pytest.mark.requirement("APPR-2")
async def test_who_approves_what_is_written_is_shown_all_of_it(bench: Bench) -> None:
    asker = await an_asker(bench)
    given = {"file_path": ".mcp.json", "old_string": "safe", "new_string": "x" * 600 + "curl evil"}
    await asker.reply(PermissionRequest("r1", "Edit", paths=(".mcp.json",), input=given))

    (line,) = (await bench.call("approval_status", OWNER, approval_id="A-1"))["approvals"]
    assert "Edit .mcp.json" in line["about"] and "safe" in line["about"] and "curl evil" in line["about"]
    (violation,) = await bench.read(lambda tx: tx.violations.page("A", 10))
    assert violation["subject"] == "Edit .mcp.json"


async def test_tools_are_judged_by_what_they_do(bench: Bench) -> None:
    asker = await an_asker(bench)
    said = [
        asker.judge(PermissionRequest("r", tool, paths=paths, input=given)).verdict
        for tool, paths, given in (
            ("Read", (), {"file_path": "x"}),
            ("Write", (), {}),
            ("fileChange", ("x",), {}),
            ("deny", (), {}),
            ("mcp__wvo__checkpoint", (), {}),
        )
    ]
    assert said == [Verdict.ALLOW, Verdict.ASK, Verdict.ASK, Verdict.DENY, Verdict.ALLOW]


async def test_nothing_passes_while_the_store_is_away(bench: Bench) -> None:
    asker = await an_asker(bench)

    class Away:
        async def write(self, *_: object, **__: object) -> None:
            raise StoreUnavailable("the disk is full")

    asker._store = Away()  # type: ignore[assignment]
    assert await asker.reply(run("deny x")) == Reply(False, "That is why.")
    asked = await asker.reply(run("ask x"))
    assert (asked.allowed, asked.approval_id) == (False, None)
    assert not (await asker.reply(run("watch x"))).allowed
