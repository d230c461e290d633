"""The MCP inspector finds nothing to complain of, over stdio and in both protocol eras."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clients.processes import Finished, run
from tests.clients.programs import SERVER, clean_environment
from tests.clients.workspace import CORE_TOOLS

pytestmark = pytest.mark.clients

Inspect = Callable[..., Finished]

# `modern` pins 2026-07-28 and has no fallback; `legacy` starts with `initialize`.
ERAS = (pytest.param("legacy", marks=pytest.mark.full), "modern")


@pytest.fixture
def inspect(need: Callable[[str], None], workspace: Path, tmp_path: Path) -> Inspect:
    """Runs one method of the inspector against a server of its own in the workspace."""
    need("mcp-inspector")
    env = clean_environment(tmp_path / "home")

    def inspected(era: str, method: str, *more: str) -> Finished:
        command: Sequence[str | Path] = ["mcp-inspector", "--cli", SERVER, "--method", method, "--protocol-era", era]
        return run([*command, "--format", "json", *more], cwd=workspace, env=env)

    return inspected


@pytest.mark.requirement("CORE-2", "CORE-6")
@pytest.mark.parametrize("era", ["legacy", pytest.param("modern", marks=pytest.mark.full)])
def test_the_tool_schemas_are_portable_in_the_eyes_of_the_strict_inspector(inspect: Inspect, era: str) -> None:
    listed = inspect(era, "tools/list", "--strict")

    assert listed.exit_code == 0, listed.report()
    tools = json.loads(listed.stdout)["result"]["tools"]
    assert {tool["name"] for tool in tools} == CORE_TOOLS


@pytest.mark.requirement("CORE-6")
def test_the_strict_inspector_accepts_the_tools_of_every_toolset(inspect: Inspect) -> None:
    listed = inspect("modern", "tools/list", "--strict", "-e", "WVO_TOOLSETS=all")

    assert listed.exit_code == 0, listed.report()
    assert {tool["name"] for tool in json.loads(listed.stdout)["result"]["tools"]} > CORE_TOOLS


@pytest.mark.requirement("CORE-2")
@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_calls_a_tool_and_reads_its_structured_result(inspect: Inspect, era: str) -> None:
    called = inspect(era, "tools/call", "--tool-name", "plan_next", "--tool-arg", "limit=1")

    assert called.exit_code == 0, called.report()
    result = json.loads(called.stdout)["result"]
    assert [task["id"] for task in result["structuredContent"]["tasks"]] == ["PRICES"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@pytest.mark.requirement("CORE-2", "CORE-9")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["resources", pytest.param("prompts", marks=pytest.mark.full)])
def test_the_inspector_lists_resources_and_prompts(inspect: Inspect, era: str, kind: str) -> None:
    listed = inspect(era, f"{kind}/list")

    assert listed.exit_code == 0, listed.report()
    assert json.loads(listed.stdout)["result"][kind]


@pytest.mark.requirement("CORE-2")
def test_two_hundred_calls_at_once_from_the_inspector_are_all_answered(inspect: Inspect) -> None:
    loaded = inspect("modern", "tools/call", "--tool-name", "plan_next", "--load", "--load-requests", "200")

    assert loaded.exit_code == 0, loaded.report()
    assert '"errors":0' in loaded.stdout.replace(" ", ""), loaded.report()
