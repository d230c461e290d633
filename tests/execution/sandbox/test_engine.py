"""An engine that is away, too old or not strict enough: nothing runs, and what is missing is said."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.sandboxes import Sandboxed
from wvo_mcp.errors import NotConfigured
from wvo_mcp.execution.sandbox import engine as engines
from wvo_mcp.execution.sandbox.engine import Engine, _facts

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


def test_doctor_knows_the_engine_and_its_image(box: Sandboxed) -> None:
    facts, has_image = Engine(os.environ).examined()
    assert facts.version and facts.missing == () and has_image
