"""The judge of a project: its file is read again when it changes, and what allows more waits for a person."""

from pathlib import Path

import pytest

from tests.support.clock import StoppedClock
from wvo_mcp.domain.policy import Verdict
from wvo_mcp.execution.safety.judge import PolicyJudge
from wvo_mcp.execution.safety.policy_file import open_differences
from wvo_mcp.execution.trust import POLICY, Trust

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-4")]


class Desk:
    """A project with a worktree, and the judge of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.workspace = self.root / "state" / "worktrees" / "T1"
        self.workspace.mkdir(parents=True)
        home = folder / "home"
        home.mkdir()
        self.clock = StoppedClock()
        self.trust = Trust({"HOME": str(home)}, self.root)
        self.file = self.root / "state" / "policy.yaml"
        self.judge = PolicyJudge(self.file, self.trust, self.clock, self.root, {"HOME": str(home)})

    async def after(self, text: str | None = None) -> None:
        if text is not None:
            self.file.write_text(text)
        self.clock.advance(2)
        await self.judge.refresh()

    def says(self, command: str, *, attended: bool = False) -> Verdict:
        return self.judge.command(command, self.workspace, self.workspace, attended=attended).verdict


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_what_forbids_more_holds_at_once(desk: Desk) -> None:
    await desk.after()
    assert desk.says("make deploy") is Verdict.ALLOW
    await desk.after("commands: {block: [make deploy]}\n")
    assert desk.says("make deploy") is Verdict.DENY
    assert desk.judge.unaccepted() is None


async def test_what_allows_more_holds_when_a_person_accepted_it(desk: Desk) -> None:
    await desk.after("commands: {allow: [docker]}\npaths: {allowed: [.github/]}\n")
    assert desk.says("docker ps") is Verdict.ASK
    assert "commands.allow" in (desk.judge.unaccepted() or "")

    desk.trust.accept(POLICY, open_differences(desk.file, desk.trust)[0])
    await desk.after()

    assert desk.judge.unaccepted() is None
    assert desk.says("docker ps") is Verdict.ALLOW
    assert desk.says("echo x > .github/workflows/ci.yml") is Verdict.ALLOW
    assert desk.says("echo x > .git/config") is Verdict.DENY, "that no policy allows"


async def test_an_accepted_prohibition_stays_until_a_person_accepts_that_it_goes(desk: Desk) -> None:
    desk.file.write_text("commands: {block: [make deploy]}\nseverities: {outside: critical}\n")
    desk.trust.accept(POLICY, open_differences(desk.file, desk.trust)[0])
    desk.file.unlink()
    await desk.after()
    assert desk.says("make deploy") is Verdict.DENY
    assert desk.says("cat /etc/passwd") is Verdict.DENY
    assert "severities.outside" in (desk.judge.unaccepted() or "")


async def test_a_broken_file_leaves_the_last_good_version(desk: Desk) -> None:
    await desk.after("commands: {block: [make deploy]}\n")
    await desk.after("commands:\n  block: [make deploy]\n  blok: []\n")
    assert desk.says("make deploy") is Verdict.DENY
    assert (desk.judge.problem() or "").startswith("policy.yaml:3: commands.blok: unknown key 'blok'")
    await desk.after("commands: {}\n")
    assert desk.judge.problem() is None


async def test_the_file_is_looked_at_once_a_second_at_most(desk: Desk) -> None:
    await desk.after()
    desk.file.write_text("commands: {block: [make]}\n")
    await desk.judge.refresh()
    assert desk.says("make") is Verdict.ALLOW
    await desk.after()
    assert desk.says("make") is Verdict.DENY


@pytest.mark.requirement("SAFE-1")
async def test_a_copy_in_a_worktree_counts_for_nothing(desk: Desk) -> None:
    (desk.workspace / "state").mkdir()
    (desk.workspace / "state" / "policy.yaml").write_text("commands: {block: [make]}\n")
    await desk.after()
    assert desk.says("make") is Verdict.ALLOW


async def test_what_is_watched_is_asked_when_nobody_attends(desk: Desk) -> None:
    await desk.after("commands: {watch: [terraform plan*, make watch]}\n")
    assert desk.says("make watch") is Verdict.ASK
    assert desk.says("make watch", attended=True) is Verdict.WATCH
    assert desk.says("sudo ls", attended=True) is Verdict.WATCH


@pytest.mark.requirement("SAFE-1")
async def test_paths_of_tools_are_judged_as_those_of_commands(desk: Desk) -> None:
    (desk.workspace / "out").symlink_to(desk.root)
    await desk.after("paths: {forbidden: [secrets/]}\n")

    def says(path: str, *, writes: bool = True) -> Verdict:
        return desk.judge.paths([path], desk.workspace, desk.workspace, writes=writes).verdict

    assert says("src/x.py") is Verdict.ALLOW
    assert says(str(desk.workspace / "src" / "x.py")) is Verdict.ALLOW
    assert says(f"{desk.workspace}-evil/x.py") is Verdict.ASK, "no parent of it, though its name begins alike"
    assert says("../T2/x.py") is Verdict.ASK
    assert says("out/x.py") is Verdict.ASK, "a link that leaves"
    assert says(str(desk.file)) is Verdict.ASK
    assert says("secrets/key", writes=False) is Verdict.DENY
    assert says(".mcp.json") is Verdict.ASK
    assert says(".mcp.json", writes=False) is Verdict.ALLOW
    for path in (".git/config", ".GIT/config", ".g\u200cit/config", "\uff0egit/config", "sub/.git/hooks/x"):
        assert says(path) is Verdict.DENY, path
    assert says("a\0b") is Verdict.DENY
    assert desk.judge.paths([], desk.workspace, desk.workspace, writes=True).verdict is Verdict.ASK


async def test_an_absolute_path_that_a_person_allowed_is_reached(desk: Desk) -> None:
    stated = {"paths": {"allowed": ["/opt/cache/", "~/.cache/shop"]}}
    desk.trust.accept(POLICY, stated)
    await desk.after("paths: {allowed: [/opt/cache/, ~/.cache/shop]}\n")
    assert desk.says("cp src/x.py /opt/cache/x") is Verdict.ALLOW
    assert desk.says("echo x > ~/.cache/shop/x") is Verdict.ALLOW
    assert desk.says("cp src/x.py /opt/cached") is Verdict.ASK
    assert desk.says("cat opt/cache/x ~/.cache/x") is Verdict.ASK


async def test_no_pattern_holds_the_judge_up(desk: Desk) -> None:
    await desk.after(
        f"paths: {{forbidden: ['{'*a' * 200}', '{'**/a/' * 80}c']}}\ncommands: {{block: ['ls {'*a' * 200}']}}\n"
    )
    for path in ("a" * 250 + "b", "a/" * 250 + "b"):  # these took for ever, when each * could give back what it took
        assert desk.says(f"ls {path}") is Verdict.ALLOW


async def test_whatever_the_file_is_the_last_good_version_holds(desk: Desk) -> None:
    await desk.after("commands: {block: [make deploy]}\n")
    broken = ("commands:\n  block: [make dep", "[" * 50_000, "#" * 2**20 + "x", "commands: {block: [x]}\n---\n{}")
    for text in broken:
        await desk.after(text)
        assert (desk.judge.problem() or "").startswith("policy.yaml:"), text[:20]
        assert desk.says("make deploy") is Verdict.DENY
    desk.file.unlink()
    for target in ("/dev/zero", "policy.yaml", "."):
        desk.file.symlink_to(target)
        await desk.after()
        assert "policy.yaml" in (desk.judge.problem() or "")
        assert desk.says("make deploy") is Verdict.DENY
        desk.file.unlink()


async def test_a_policy_that_changes_counts_from_the_next_command_on(desk: Desk) -> None:
    desk.trust.accept(POLICY, {"commands": {"allow": ["docker"]}})
    await desk.after("commands: {allow: [docker]}\n")
    assert desk.says("docker ps") is Verdict.ALLOW
    await desk.after("commands: {allow: [docker], block: [docker ps]}\n")
    assert desk.says("docker ps") is Verdict.DENY
    await desk.after("{}\n")
    assert desk.says("docker ps") is Verdict.ASK, "what is accepted and stated no more allows nothing"


async def test_tools_are_judged_by_their_names(desk: Desk) -> None:
    await desk.after("commands: {block: [Task], ask: [mcp__wvo__heartbeat]}\n")
    said = {
        name: desk.judge.tool(name).verdict.name for name in ("mcp__wvo__claim_task", "mcp_wvo_checkpoint", "TodoWrite")
    }
    assert set(said.values()) == {"ALLOW"}
    assert desk.judge.tool("Task").verdict is Verdict.DENY
    assert desk.judge.tool("mcp__wvo__heartbeat").verdict is Verdict.ASK
    assert desk.judge.tool("mcp__other__tool").verdict is Verdict.ASK
    assert desk.judge.tool("WebFetch").verdict is Verdict.DENY


@pytest.mark.parametrize("cwd", ["\n" * 4_000, "/" + "x" * 300, "a/" * 2_000, "é" * 200, "..", "/", ""])
async def test_a_folder_of_any_name_is_judged(desk: Desk, cwd: str) -> None:
    await desk.after()
    folder, workspace = desk.judge.around(cwd)
    assert desk.judge.command("ls", folder, workspace, attended=True).verdict is Verdict.ALLOW
