"""Providers as people see them."""

from io import StringIO
from typing import Any

from rich.console import Console

from wvo_mcp.faces.cli.views import view


def drawn(name: str, result: dict[str, Any]) -> str:
    out = StringIO()
    Console(file=out, width=100).print(view(name, result))
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
    assert lines[:4] == [
        "provider installed version logged in told by",
        "claude yes 2.1.329 yes ANTHROPIC_API_KEY is set",
        "ollama yes ? it answers; has model-0, model-1, model-2, model-3 +5",
        "gone (off) no no not \u00b7[2Jthere",
    ]
    assert lines[-1].startswith("state/providers.yaml:3")
