"""The MCP conformance programs find no failure in the scenarios that need no fixtures of their own, at `/mcp` as it is
served to everybody."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.over_http import serving
from tests.clients.processes import run
from tests.clients.programs import clean_environment
from tests.clients.workspace import seeded

pytestmark = pytest.mark.clients

# The other scenarios want the tools, prompts and resources of a reference server (test_simple_text, test://static-text),
# or what we do not offer: protocol logging and completions.
SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "resources-subscribe",
    "resources-unsubscribe",
    "prompts-list",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the face is served; one server for all scenarios, as a real one would be."""
    place = tmp_path_factory.mktemp("conformance")
    with serving(seeded(place / "project"), place) as site:
        yield site.url


@pytest.mark.requirement("CORE-2", "DASH-5")
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
