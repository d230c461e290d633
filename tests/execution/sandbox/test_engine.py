"""An engine that is away, too old or not strict enough: nothing runs, and what is missing is said."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.support.sandboxes import Sandboxed
from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.errors import NotConfigured
from wvo_mcp.execution import worker_checks
from wvo_mcp.execution.sandbox import engine as engines
from wvo_mcp.execution.sandbox.engine import _facts

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-4")]

GOOD: dict[str, Any] = {
    "ServerVersion": "20.10.24",
    "OSType": "linux",
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"],
}


async def test_without_an_engine_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_SOCKET", tmp_path / "none")
    away = Sandboxed(tmp_path, {})
    with pytest.raises(NotConfigured, match="no Docker engine here") as refused:
        await away.run(f"touch {tmp_path}/ran")
    assert "never" in refused.value.hint or "Nothing was run" in refused.value.hint
    assert not (tmp_path / "ran").exists() and await away.sandbox.reap() == 0


async def test_an_engine_that_does_not_answer_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))  # nobody listens
        away = Sandboxed(tmp_path, {"DOCKER_HOST": f"unix://{path}"})
        with pytest.raises(NotConfigured, match="The Docker engine"):
            await away.run("true")


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "nonsense://x", "unix:///nowhere/docker.sock", "tcp://[bad"])
async def test_an_address_that_leads_nowhere_is_said(tmp_path: Path, host: str) -> None:
    with pytest.raises(NotConfigured, match="The Docker engine"):
        await Sandboxed(tmp_path, {"DOCKER_HOST": host}).run("true")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MemoryLimit": False}, "memory"),
        ({"SwapLimit": False}, "swap"),
        ({"PidsLimit": False}, "processes"),
        ({"CpuCfsQuota": False}, "CPU"),
        ({"SecurityOptions": []}, "seccomp"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp"),
        ({"OSType": "windows"}, "Linux"),
    ],
)
def test_what_an_engine_does_not_enforce_is_named(change: dict[str, Any], words: str) -> None:
    assert _facts(GOOD, "1.41").missing == ()
    missing = _facts({**GOOD, **change}, "1.41").missing
    assert len(missing) == 1 and words in missing[0]


async def test_an_engine_that_does_not_enforce_a_limit_is_not_used(
    box: Sandboxed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await box.run("true")).exit_code == 0

    def lax(info: Any, api: str) -> engines.Facts:
        return _facts({**GOOD, "PidsLimit": False}, api)

    monkeypatch.setattr(engines, "_facts", lax)
    box.engine._facts = None
    with pytest.raises(NotConfigured, match="does not enforce the limit of processes"):
        await box.run("true")


async def _found(environ: dict[str, str], state: Path) -> list[Finding]:
    return await to_thread.run_sync(worker_checks.sandbox, environ, state)


async def test_doctor_says_which_engine_there_is_and_what_it_enforces(
    box: Sandboxed, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await _found({**os.environ}, box.state)
    assert [one.outcome for one in found] == [Outcome.OK] and "Docker" in found[0].found

    def lax(info: Any, api: str) -> engines.Facts:
        return _facts({**GOOD, "MemoryLimit": False, "SecurityOptions": ["name=rootless", "name=seccomp"]}, api)

    monkeypatch.setattr(engines, "_facts", lax)
    found = await _found({**os.environ}, box.state)
    assert found[0].outcome is Outcome.WARN and "the limit of memory" in found[0].found and "rootless" in found[0].found
    monkeypatch.undo()
    monkeypatch.setattr(engines, "IMAGE", "wvo-mcp-none:1")
    assert "is not built" in (await _found({**os.environ}, box.state))[1].found


async def test_doctor_says_that_there_is_no_engine_or_that_it_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = await _found({"DOCKER_HOST": f"unix://{tmp_path}/none"}, tmp_path)
    assert away[0].outcome is Outcome.WARN and "none" in away[0].found
    monkeypatch.setattr(engines, "_SOCKET", tmp_path / "none")
    nothing = await _found({}, tmp_path)
    assert nothing[0].outcome is Outcome.OK and "refuses" in nothing[0].found
