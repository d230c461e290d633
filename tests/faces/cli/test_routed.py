"""Commands that claim know which local servers run, though no server of ours does."""

import socket

import pytest

from tests.execution.providers.test_presence import OLLAMA, serving
from tests.faces.cli.shell import Shell
from wvo_mcp.execution.providers import presence

pytestmark = pytest.mark.requirement("PROV-2")

FILE = """\
providers:
  away: {{kind: openai, place: cloud, base_url: "https://models.invalid/v1", tiers: {{high: {{model: m}}}}}}
  home: {{kind: ollama, base_url: "{0}", tiers: {{high: {{model: "{1}"}}}}}}
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 20.0)


def routed(shell: Shell, url: str, model: str = "qwen3:8b") -> str:
    """Where a review is routed, which local models should do."""
    state = shell.root / "state"
    state.mkdir(exist_ok=True)
    (state / "providers.yaml").write_text(FILE.format(url, model))
    shell("trust", "--yes")
    shell("create-tasks", "--tasks", '[{"id": "R", "title": "r", "type": "review", "complexity": 3}]')
    return str(shell("route-task", "R").json["route"]["provider"])


def test_what_answers_is_chosen(shell: Shell) -> None:
    with serving(OLLAMA) as url:
        assert routed(shell, url) == "home"


def test_what_does_not_run_is_not_chosen(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert routed(shell, url) == "away"


def test_a_server_without_the_model_is_not_chosen(shell: Shell) -> None:
    with serving(OLLAMA) as url:
        assert routed(shell, url, "another:70b") == "away"
