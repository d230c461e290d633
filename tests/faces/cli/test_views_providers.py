"""Providers as people see them."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import click
from rich.console import Console

from wvo_mcp.faces.cli.flags import parameters
from wvo_mcp.faces.cli.views import view
from wvo_mcp.faces.cli.views.cells import condition
from wvo_mcp.operations import ALL


def drawn(name: str, result: dict[str, Any], width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width).print(view(name, result))
    return out.getvalue()


def one(provider: str, **fields: Any) -> dict[str, Any]:
    known = {
        "kind": "claude",
        "place": "cloud",
        "enabled": True,
        "installed": True,
        "program": "/bin/x",
        "version": None,
    }
    return {"provider": provider, **known, "logged_in": None, "how": "", "models": [], **fields}


def test_each_provider_is_a_line() -> None:
    shown = drawn(
        "auth_status",
        {
            "providers": [
                one("claude", version="2.1.329", logged_in=True, how="ANTHROPIC_API_KEY is set"),
                one("ollama", models=[f"model-{i}" for i in range(9)], how="it answers"),
                one("gone", enabled=False, installed=False, logged_in=False, how="not \x1b[2Jthere"),
            ],
            "problem": "state/providers.yaml:3: mode: expected one of cloud, local, hybrid",
        },
    )

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0].startswith("state/providers.yaml:3")
    assert lines[2:6] == [
        "provider enabled installed version logged in evidence models",
        "claude yes yes 2.1.329 yes ANTHROPIC_API_KEY is",
        "set",
        "ollama yes yes it answers model-0, model-1,",
    ]
    assert lines[-1] == "gone no no no not \u00b7[2Jthere"


def test_how_it_is_known_is_told_to_its_end_where_there_is_little_room() -> None:
    how = "claude is not on PATH; ANTHROPIC_API_KEY is not set; there is no ~/.claude/.credentials.json"

    shown = drawn("auth_status", {"providers": [one("claude", how=how)], "problem": None}, 80)

    lines = shown.splitlines()[1:]
    start = lines[0].index("claude is not")
    assert "".join(line[start:].rstrip() + " " for line in lines).split() == how.split()
    assert "\u2026" not in shown


def test_the_mode_says_who_chose_it() -> None:
    def head(since: str | None) -> str:
        return drawn("routing_mode", {"mode": "local", "since": since, "shares": {}}).splitlines()[0].strip()

    assert head(None) == "Mode local, as providers.yaml has it"
    assert head("ann at 2026-11-21T21:00:00.000Z") == "Mode local, chosen by ann at 2026-11-21T21:00:00.000Z"


def test_a_breaker_is_told_of_a_program_that_is_not_here_too() -> None:
    breaker = {"tier": "low", "state": "open", "kind": "rate_limit", "until": None, "reason": None}
    there = {"enabled": True, "state": "closed", "found": False, "note": "gemini is not installed"}

    assert condition({**there, "breakers": [breaker]}, datetime.now(UTC)).plain == "not found  low rate limit"
    assert condition({**there, "breakers": []}, datetime.now(UTC)).plain == "not found  gemini is not installed"


def test_what_is_one_of_several_words_is_written_without_quotes() -> None:
    (outcome,) = [flag for flag in parameters(ALL["provider_report"]) if flag.name == "outcome"]

    assert isinstance(outcome.type, click.Choice)
    assert [outcome.type.convert(word, None, None) for word in ("ok", "rate_limit")] == ["ok", "rate_limit"]
