"""The tool `auth_status`, over a real file and programs that stand for the real ones."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN, Bench
from tests.support.patience import patient_with_programs
from wvo_mcp.domain.providers.catalogue import Provider
from wvo_mcp.errors import InvalidInput, NotConfigured, NotFound
from wvo_mcp.execution.providers import presence
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace
from wvo_mcp.operations import ALL
from wvo_mcp.ports.providers import ProviderCheck

__all__ = ["patient_with_programs"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sqlite,
    pytest.mark.usefixtures("patient_with_programs"),
    pytest.mark.requirement("PROV-5"),
]

SECRET = "sk-ant-api03-" + "aB3" * 20 + "AA"
FILE = """\
providers:
  claude: {kind: claude, key_env: MY_KEY, tiers: {low: {model: m}}}
  codex: {kind: codex, key_command: get-key, tiers: {low: {model: m}}}
  gone: {kind: gemini, command: no-such-program, enabled: false, tiers: {low: {model: m}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scripts = {
        "claude": f"echo '2.1.329 (Claude Code)'; echo {SECRET} >&2",
        "codex": f"echo {SECRET}; echo codex-cli 0.169.0",
        "get-key": f"echo {SECRET}",
    }
    (tmp_path / "bin").mkdir()
    for name, script in scripts.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "providers.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture
def workspace(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(presence, "MOST_SECONDS", 240.0)
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(folder), "MY_KEY": SECRET}
    providers = ProvidersOfWorkspace(folder / "providers.yaml", environ, bench.clock)
    bench.services = replace(bench.services, providers=providers)
    return bench


@pytest.mark.requirement("SAFE-3")
async def test_every_provider_is_told_and_no_secret(workspace: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    result = await workspace.call("auth_status")

    told = {one["provider"]: one for one in result["providers"]}
    shown = {
        name: [one[key] for key in ("enabled", "installed", "version", "logged_in", "how")]
        for name, one in told.items()
    }
    assert shown == {
        "claude": [True, True, "2.1.329", True, "MY_KEY is set"],
        "codex": [True, True, "0.169.0", True, "key_command prints a key"],
        "gone": [False, False, None, False, "no-such-program is not on PATH; there is no ~/.gemini/oauth_creds.json"],
    }
    assert result["problem"] is None
    assert SECRET[:20] not in f"{result}{caplog.text}"


async def test_one_provider_may_be_asked_for(workspace: Bench) -> None:
    result = await workspace.call("auth_status", provider="codex")

    assert [one["provider"] for one in result["providers"]] == ["codex"]
    with pytest.raises(NotFound, match="Did you mean claude"):
        await workspace.call("auth_status", provider="claud")


async def test_what_is_wrong_with_the_file_is_told_beside_the_last_good_one(workspace: Bench, folder: Path) -> None:
    await workspace.call("auth_status", provider="claude")
    (folder / "providers.yaml").write_text(FILE + f"api_key: {SECRET}\n")
    workspace.clock.advance(1)
    assert (await workspace.call("auth_status", provider="claude"))["problem"] is None
    workspace.clock.advance(1)

    result = await workspace.call("auth_status", provider="claude")

    assert "providers.yaml:5: api_key: expected no key in this file" in result["problem"]
    assert SECRET not in str(result)


async def test_without_a_good_file_the_error_names_the_line(workspace: Bench, folder: Path) -> None:
    (folder / "providers.yaml").write_text("providers: {a: {kind: x, tiers: {low: {model: m}}}}\n")

    with pytest.raises(InvalidInput, match=r"providers\.yaml:1: providers\.a\.kind: expected one of claude, codex"):
        await workspace.call("auth_status")


async def test_one_that_does_not_end_keeps_nobody_waiting(workspace: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = presence.check

    async def slow(provider: Provider, environ: Mapping[str, str]) -> ProviderCheck:
        if provider.name == "codex":
            await anyio.sleep_forever()
        return await plain(provider, environ)

    monkeypatch.setattr(presence, "check", slow)
    monkeypatch.setattr(presence, "MOST_SECONDS", 0.2)

    result = await workspace.call("auth_status", provider="codex")

    assert (result["providers"][0]["logged_in"], result["providers"][0]["how"]) == (None, "not known within 0.2 s")


async def test_where_no_providers_are_it_says_so(bench: Bench) -> None:
    bench.services = replace(bench.services, providers=None)

    with pytest.raises(NotConfigured):
        await ALL["auth_status"](bench.services, ANN, {})
