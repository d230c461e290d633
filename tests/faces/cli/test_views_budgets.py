"""Budgets and providers on a terminal."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, limited, only
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.faces.cli.views import view
from wvo_mcp.faces.cli.views.cells import amount, bar
from wvo_mcp.operations import ALL

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("PROV-5")]


@pytest.fixture
async def used(bench: Bench) -> Bench:
    """A budget that is nearly used up, one that is reserved, a raise, and a provider that fails."""
    catalogue = limited("claude", Limits(100_000, 1_000_000), only("claude", "codex"))
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))
    await bench.create(a_task("T", complexity=2))
    await bench.call("provider_report", provider="claude", tier="low", tokens_in=85_000)
    await ALL["budget_raise"](
        bench.services, OWNER, {"scope": "provider", "name": "claude", "hourly": 50_000, "reason": "demo"}
    )
    await bench.call("provider_report", provider="codex", outcome="rate_limit", retry_after=600)
    await bench.claim(ANN)
    return bench


def shown(name: str, result: dict[str, Any], width: int) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(view(name, result))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines), default=0) <= width
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [70, 110])
async def test_budgets_are_bars_with_their_reset_times_in_every_width(used: Bench, width: int) -> None:
    for name in ("status", "provider_status", "budget_show"):
        text = shown(name, await ALL[name](used.services, OWNER, {}), width)

        assert "85.0k of 150k" in text
        assert "1 h 1 min (10:01)" in text
        assert "█" in text
        if name != "budget_show":
            assert "stopped  rate limit" in text


async def test_a_report_shows_what_was_counted_and_who_goes_on(used: Bench) -> None:
    told = await used.call(
        "provider_report", task_id="T", provider="claude", tokens_in=1_000, outcome="outage", error="\x1b[31mgone"
    )

    text = shown("provider_report", told, 100)

    assert "Counted 1.00k tokens" in text
    assert "outage" in text
    assert "\x1b[31m" not in text
    assert "period         hour" in text
    assert "of 150k+" in text


def test_a_bar_shows_what_is_used_and_reserved_and_lies_in_neither_direction() -> None:
    def drawn(used: int, reserved: int = 0) -> str:
        return bar({"limit": 100, "used": used, "reserved": reserved}, 10).plain

    assert drawn(0) == "░" * 10
    assert drawn(1) == "█" + "░" * 9
    assert drawn(50, 20) == "█████▒▒░░░"
    assert drawn(99) == "█" * 9 + "░"
    assert drawn(100) == drawn(1_000) == "█" * 10
    assert [amount(one) for one in (0, 950, 1_000, 12_345, 3_200_000, 10**12)] == [
        "0",
        "950",
        "1.00k",
        "12.3k",
        "3.20M",
        "1000G",
    ]


@pytest.mark.requirement("PROV-5")
@pytest.mark.parametrize(
    ("presence", "words"),
    [
        (Presence(found=False, note="codex is not installed"), "not found  codex is not installed"),
        (Presence(found=True, logged_in=False), "installed, not logged in"),
        (Presence(found=True, logged_in=True), "logged in"),
        (Presence(found=True), "installed, login unknown"),
        (Presence(), "unknown"),
    ],
)
async def test_nothing_is_said_to_work_of_what_nobody_has_tried(bench: Bench, presence: Presence, words: str) -> None:
    catalogue = limited("codex", Limits(hourly=100_000), only("codex"))
    bench.services = replace(bench.services, providers=FixedProviders(catalogue, {"codex": presence}))

    text = shown("provider_status", await ALL["provider_status"](bench.services, OWNER, {}), 110)

    assert words in text
    assert "works" not in text
    assert "nothing reported of 100k" in text
