"""The MCP conformance programs find no failure in the scenarios that need no fixtures of their own.

They speak HTTP only, so that the face is served over the SDK's own HTTP transport here.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.processes import run, running
from tests.clients.programs import REPOSITORY, clean_environment
from tests.clients.workspace import seeded

pytestmark = pytest.mark.clients

# The other scenarios want the tools, prompts and resources of a reference server (test_simple_text, test://static-text),
# or what we do not offer: protocol logging, completions and subscriptions to single resources.
SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the face is served; one server for all scenarios, as a real one would be."""
    place = tmp_path_factory.mktemp("conformance")
    env = clean_environment(place) | {"ROOT": str(seeded(place / "project"))}
    command = [sys.executable, "-m", "tests.clients.serve_http"]
    with running(command, cwd=REPOSITORY, env=env) as first_line:
        yield f"http://127.0.0.1:{int(first_line)}/mcp"


@pytest.mark.requirement("CORE-2")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_conformance_scenario_passes(
    scenario: str, request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need("conformance")
    url: str = request.getfixturevalue("url")

    judged = run(
        ["conformance", "server", "--url", url, "--scenario", scenario], cwd=tmp_path, env=clean_environment(tmp_path)
    )

    assert judged.exit_code == 0, judged.report()
    assert ", 0 failed, 0 warnings" in judged.stdout, judged.report()
    assert "Passed: 0/" not in judged.stdout, judged.report()
