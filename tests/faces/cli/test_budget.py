"""`wvo-mcp budget raise` and `budget show`."""

import json

import pytest

from tests.faces.cli.shell import Shell

pytestmark = pytest.mark.requirement("PROV-3")

PROVIDERS = """\
providers:
  claude:
    kind: claude
    limits: {hourly: 1000, daily: 5000}
    tiers:
      high: {model: big, limits: {daily: 2000}}
"""


@pytest.fixture
def limited(shell: Shell) -> Shell:
    (shell.root / "state").mkdir(exist_ok=True)
    (shell.root / "state" / "providers.yaml").write_text(PROVIDERS)
    return shell


def test_a_person_raises_a_budget_by_words_in_their_order(limited: Shell) -> None:
    raised = json.loads(limited("budget", "raise", "tier", "claude/high", "a demo", "--daily", "700").out)
    limited("budget", "raise", "--scope", "provider", "--name", "claude", "--hourly", "50", "--for", "30m")
    shown = json.loads(limited("budget", "show").out)
    assert (
        json.loads(limited("budget").out)["raises"]
        == json.loads(limited("budget", "--json").out)["raises"]
        == shown["raises"]
    )

    assert [(one["period"], one["tokens"]) for one in raised["raised"]] == [("day", 700)]
    assert [(one["scope"], one["name"], one["tokens"], one["reason"]) for one in shown["raises"]] == [
        ("tier", "claude/high", 700, "a demo"),
        ("provider", "claude", 50, ""),
    ]
    limits = {(one["name"], one["period"]): one["limit"] for one in shown["windows"]}
    assert limits == {("claude", "hour"): 1050, ("claude", "day"): 5000, ("claude/high", "day"): 2700}


def test_what_is_missing_or_unknown_is_named(limited: Shell) -> None:
    assert limited("budget", "raise", "provider", "claude").error["details"]["field"] == "hourly"
    assert limited("budget", "raise", "world", "claude", "--daily", "1").code == 2
    assert limited("budget", "raise", "--daily", "1").code == 2
    assert limited("budget", "raise", "tier", "claude/hihg", "--daily", "1").error["details"]["near"] == ["claude/high"]
