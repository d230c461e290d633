"""A worker's own home, and that nothing of the person's is read into it or changed."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from wvo_mcp.domain import known_secrets
from wvo_mcp.domain.providers.catalogue import Model, Place, Provider, ProviderKind, Tier
from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.agents.home import WorkerHomes
from wvo_mcp.ports.homes import HomeAsk, HomeFailed
from wvo_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]

KEY = "ab" * 32
PERSONS_FILES = {
    ".claude.json": '{"mcpServers": {"evil": {"command": "x"}}}',
    ".claude/.credentials.json": '{"claudeAiOauth": {"accessToken": "persons-token"}}',
    ".codex/auth.json": '{"tokens": "persons-token"}',
    ".codex/config.toml": "[mcp_servers.stall]\ncommand = 'sleep'\n",
    ".gemini/oauth_creds.json": '{"refresh_token": "persons-token"}',
    ".gitconfig": '[user]\n\tname = Ada "the" L\\\\ovelace\n\temail = ada@example.org\n[credential]\n\thelper = store\n',
    ".bashrc": "export X=1\n",
    ".bash_history": "ls\n",
    ".netrc": "machine example.org password word\n",
}


def provider(kind: ProviderKind = ProviderKind.CLAUDE, **more: Any) -> Provider:
    return Provider(kind.value, kind, Place.CLOUD, {Tier.HIGH: Model("m")}, **more)


class Desk:
    """A person's home, a project, and the homes of its workers."""

    def __init__(self, place: Path, **environ: str) -> None:
        self.person, self.project = place / "person", place / "project"
        for name, text in PERSONS_FILES.items():
            (self.person / name).parent.mkdir(parents=True, exist_ok=True)
            (self.person / name).write_text(text)
        self.state = self.project / "state"
        self.state.mkdir(parents=True)
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(self.person), "ANTHROPIC_API_KEY": "made-for-workers"}
        self.environ |= environ
        settings = Settings.model_validate({"root": self.project, "WVO_STATE_DIR": self.state})
        self.homes = WorkerHomes(settings, self.environ)
        self.before = self.tree()

    def tree(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.person.rglob("*")) if path.is_file()}


def ask(task: str = "PRICES", slot: int = 0, session: str | None = None, **more: Any) -> HomeAsk:
    return HomeAsk(provider=provider(**more), task_id=task, slot=slot, key=KEY, session=session)


async def test_a_home_is_the_workers_own_and_leaves_the_persons_byte_for_byte(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask()) as home:
        env = {**home.env, "PATH": os.environ["PATH"]}
        await anyio.run_process(["/bin/sh", "-c", "echo x > $HOME/.bash_history; git config --global a.b c"], env=env)
        inside = [path for path in (desk.state / "workers").rglob("*") if path.is_file()]
        assert all("persons-token" not in path.read_text(errors="replace") for path in inside)
        assert not any(path.is_symlink() for path in (desk.state / "workers").rglob("*"))
        assert "persons-token" not in "".join(home.env.values())
    assert desk.tree() == desk.before


async def test_git_gets_the_persons_name_and_nothing_else_of_their_configuration(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask()) as home:
        env = {**home.env, "GIT_CONFIG_NOSYSTEM": "1"}
        told = await anyio.run_process(["git", "config", "--list"], cwd=tmp_path, env=env)
    assert told.stdout.decode().splitlines() == [
        "user.name=Ada the L\\ovelace",
        "user.email=ada@example.org",
        "commit.gpgsign=false",
    ]


async def test_every_folder_of_workers_is_for_its_owner_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask()) as home:
        for folder in (home.path, *home.path.parents):
            if folder == desk.state:
                break
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        assert home.path.is_relative_to(desk.state / "workers")


@pytest.mark.parametrize("modules", ["planted", "planted:/nowhere"])
async def test_our_server_runs_nothing_that_lies_in_the_folder_where_it_is_started(
    tmp_path: Path, modules: str
) -> None:
    worktree, mark = tmp_path / "worktree", tmp_path / "mark"
    (worktree / "planted").mkdir(parents=True)
    for name in ("planted/sitecustomize.py", "sitecustomize.py", "wvo_mcp.py", "json.py"):
        (worktree / name).write_text(f"open({str(mark)!r}, 'a').close()\n")
    desk = Desk(tmp_path, PYTHONPATH=modules)
    async with desk.homes.open(ask()) as home:
        assert home.server is not None
        env = {**home.env, **home.server.env}
        with anyio.fail_after(60):
            await anyio.run_process([*home.server.argv, "--version"], cwd=worktree, env=env)
    assert not mark.exists()


async def test_keys_of_long_ago_are_secrets_no_more_for_every_text_is_searched_for_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    before = len(known_secrets._forms)  # pyright: ignore[reportPrivateUsage]
    for number in range(100):
        async with desk.homes.open(replace(ask(), key=f"{number:x}{KEY}")):
            pass

    assert len(known_secrets._forms) - before <= 64 + 1  # pyright: ignore[reportPrivateUsage]
    assert redact(f"{99:x}{KEY}") == "[redacted]"


async def test_the_entry_of_our_server_holds_the_key_and_the_environment_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WVO_LEASE_SECONDS="60", WVO_ALERT_WEBHOOK_SECRET="0123456789abcdef")
    async with desk.homes.open(ask()) as home:
        assert home.server is not None
        argv, env = home.server.argv, home.server.env
        assert KEY not in "".join(home.env.values())
        assert KEY not in "".join(argv)
    assert redact(f"it printed {KEY} and made-for-workers") == "it printed [redacted] and [redacted]"
    assert env == {
        "ROOT": str(desk.project),
        "WVO_STATE_DIR": str(desk.state),
        "WVO_WORKER_KEY": KEY,
        "WVO_TOOLSETS": "core,agents,approvals,execution,workspaces",
        "WVO_LEASE_SECONDS": "60",
    }
    shown = await anyio.run_process([*argv, "--version"], env={**env, "PATH": os.environ["PATH"]})
    assert b"wvo-mcp" in shown.stdout


async def test_a_session_is_found_again_from_another_slot_and_caches_stay_with_theirs(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask(slot=0)) as first:
        pass
    async with desk.homes.open(ask(slot=1, session="s-1")) as again:
        pass
    assert (again.path, again.session) == (first.path, "s-1")
    assert first.env["XDG_CACHE_HOME"] != again.env["XDG_CACHE_HOME"]


@pytest.mark.parametrize("task", ["..", ".", "a/../../b", "-rf", "x" * 64])
async def test_a_home_of_any_task_is_below_the_folder_of_workers(tmp_path: Path, task: str) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask(task)) as home:
        assert home.path.resolve().parent.parent == desk.state / "workers/tasks"
        assert home.path.parent.parent == desk.state / "workers/tasks"


async def test_a_link_that_a_worker_left_in_place_of_a_home_is_not_followed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (desk.state / "workers/tasks").mkdir(parents=True)
    (desk.state / "workers/tasks/PRICES").symlink_to(desk.person)
    with pytest.raises(HomeFailed):
        async with desk.homes.open(ask()):
            pass
    assert desk.tree() == desk.before


async def test_without_a_login_for_workers_nothing_is_launched_and_the_remedy_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(HomeFailed, match="no login for workers of gemini") as failed:
        async with desk.homes.open(ask(kind=ProviderKind.GEMINI)):
            pass
    assert "GEMINI_API_KEY" in failed.value.remedy


async def test_a_key_command_gives_the_login(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask(key_command=("echo", "from-the-safe"))) as home:
        assert home.env["ANTHROPIC_API_KEY"] == "from-the-safe"
    for command in (("false",), ("/no/such/program",), ("true",)):
        with pytest.raises(HomeFailed, match="key_command"):
            async with desk.homes.open(ask(key_command=command)):
                pass


async def test_a_codex_home_that_was_logged_in_serves_one_worker_at_a_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    login = desk.state / "workers/logins"
    for number in (1, 2):
        (login / f"codex-{number}").mkdir(parents=True)
        (login / f"codex-{number}/auth.json").write_text("{}")
    codex = ProviderKind.CODEX
    async with desk.homes.open(ask("A", kind=codex)) as a, desk.homes.open(ask("B", kind=codex)) as b:
        assert {a.path, b.path} == {login / "codex-1", login / "codex-2"}
        with pytest.raises(HomeFailed, match="all 2 homes") as full:
            async with desk.homes.open(ask("C", kind=codex)):
                pass
        assert "codex login" in full.value.remedy
        assert full.value.busy
        assert "all 2 homes" in str(desk.homes.busy(provider(codex)))
        assert desk.homes.busy(provider()) is None
    assert desk.homes.busy(provider(codex)) is None
    async with desk.homes.open(ask("B", kind=codex, session="s")) as again:
        assert (again.path, again.session) == (b.path, "s")
        async with desk.homes.open(ask("B", kind=codex, session="s")) as other:
            assert other.session is None, "its session is in a home that another worker uses"


async def test_homes_of_a_settled_task_are_removed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.homes.open(ask()) as home:
        pass
    await desk.homes.forget("PRICES")
    await desk.homes.forget("PRICES")
    assert not home.path.exists()


@pytest.mark.requirement("WORK-5")
async def test_what_a_worker_would_miss_is_told_with_its_remedy_before_a_launch(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, version in (
        ("claude", "2.1.220 (Claude Code)"),
        ("codex", "codex-cli 0.169.0"),
        ("gemini", "0.61.0"),
        ("node", "v18.1.0"),
    ):
        (programs / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (programs / name).chmod(0o755)
    desk = Desk(tmp_path, PATH=f"{programs}:/usr/bin:/bin")
    kinds = [
        provider(kind, command=(kind.value,)) for kind in (ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI)
    ]
    kinds.append(Provider("absent", ProviderKind.CLAUDE, Place.CLOUD, {}, command=("no-such-claude",)))
    kinds.append(Provider("off", ProviderKind.CLAUDE, Place.CLOUD, {}, command=("no-such-claude",), enabled=False))
    kinds.append(Provider("mine", ProviderKind.OPENAI, Place.LOCAL, {}, base_url="http://127.0.0.1:1"))
    found = await desk.homes.missing(kinds)
    assert {name: one.found for name, one in found.items()} == {
        "claude": "claude is 2.1.220, and workers need 2.1.221 or newer",
        "codex": "there is no login for workers (your own is not used: that would log you out)",
        "gemini": "gemini needs Node 20 or newer, and there is 18.1.0",
        "absent": "no-such-claude is not on PATH",
    }
    assert all(one.remedy for one in found.values())
    assert "CODEX_HOME=" in str(found["codex"].remedy)
    assert desk.tree() == desk.before


@pytest.mark.requirement("WORK-5")
async def test_a_program_of_npm_is_not_run_to_learn_its_version(tmp_path: Path) -> None:
    package = tmp_path / "lib/node_modules/@google/gemini-cli"
    (package / "bundle").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "@google/gemini-cli", "version": "0.60.2"}')
    script = package / "bundle/gemini.js"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 9.9.9\n")
    script.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gemini").symlink_to(script)
    desk = Desk(tmp_path, PATH=f"{tmp_path}/bin", GEMINI_API_KEY="g")
    found = await desk.homes.missing([provider(ProviderKind.GEMINI, command=("gemini",))])
    assert "gemini is 0.60.2" in found["gemini"].found
    assert not await anyio.Path(tmp_path / "ran").exists()
