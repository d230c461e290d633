"""The safety policy as it holds: globs of paths, and what waits for a person (SAFE-1, SAFE-4)."""

from typing import Any

import pytest

from wvo_mcp.domain.policy import PROTECTED, SafetyPolicy, Verdict, held_back, matching, waits


@pytest.mark.requirement("SAFE-1")
@pytest.mark.parametrize(
    ("pattern", "covered", "open_to"),
    [
        (
            ".mcp.json",
            [".mcp.json", "sub/.mcp.json", ".MCP.json", "\uff0emcp.json", ".mcp\u200d.json"],
            ["mcp.json", "a.mcp.json"],
        ),
        (".claude", [".claude", ".claude/settings.json", "a/b/.claude/x"], [".claude2", "claude/x"]),
        ("/state/", ["state", "state/policy.yaml"], ["src/state/x.py", "states"]),
        (
            ".github/workflows/",
            [".github/workflows/ci.yml", ".github"],
            [".github/CODEOWNERS", "a/.github/workflows/x"],
        ),
        ("*.pem", ["a.pem", "keys/b.pem"], ["a.pem.txt"]),
        ("docs/**/x?", ["docs/x1", "docs/a/b/x2"], ["docs/x", "docs/a/y1"]),
    ],
)
def test_a_glob_covers_what_is_below_it_whatever_it_is_spelt_like(
    pattern: str, covered: list[str], open_to: list[str]
) -> None:
    assert [one for one in covered if matching([pattern], one) is None] == []
    assert [one for one in open_to if matching([pattern], one) is not None] == []


@pytest.mark.requirement("SAFE-1")
def test_what_steers_us_and_agents_is_protected_without_a_file() -> None:
    policy = SafetyPolicy()
    for path in (
        "state/roadmap.yaml",
        "directives/a.md",
        "flows/a.yaml",
        ".worktreeinclude",
        "sub/.gitattributes",
        ".gitmodules",
    ):
        assert policy.protects(path), path
    assert policy.protects("src/x.py") is None
    assert SafetyPolicy(allowed=(".git/", ".claude")).protects(".git/config") == ".git", "no policy opens it"
    assert SafetyPolicy(allowed=(".git/", ".claude")).protects(".claude/x") is None


@pytest.mark.requirement("SAFE-4")
@pytest.mark.parametrize(
    ("accepted", "stated", "waiting"),
    [
        ({}, {"commands": {"block": ["x"], "ask": ["y"]}, "paths": {"forbidden": ["z"]}}, []),
        ({}, {"severities": {"outside": "critical"}, "limits": {"asks": 1}}, []),
        ({}, {"commands": {"allow": ["x"]}}, ["commands.allow"]),
        ({}, {"paths": {"allowed": ["x"]}}, ["paths.allowed"]),
        ({}, {"severities": {"protected": "info"}, "limits": {"asks": 500}}, ["severities.protected", "limits.asks"]),
        ({"commands": {"block": ["x"]}}, {}, ["commands.block"]),
        ({"severities": {"outside": "critical"}}, {}, ["severities.outside"]),
        ({"commands": {"allow": ["x"]}}, {}, []),
        ({"commands": {"allow": ["x"]}}, {"commands": {"allow": ["x"]}}, []),
    ],
)
def test_only_what_allows_more_waits(accepted: Any, stated: Any, waiting: list[str]) -> None:
    policy, differences = held_back(stated, accepted)

    assert [one.name for one in differences] == waiting
    assert (waits(differences) is None) == (not waiting)
    assert set(policy.protected) >= set(PROTECTED)
    if waiting:
        strict, _ = held_back(accepted, accepted)
        assert (policy.allow, policy.allowed, policy.severities, policy.asks) == (
            strict.allow,
            strict.allowed,
            strict.severities,
            strict.asks,
        )


def test_a_severity_is_a_verdict() -> None:
    assert SafetyPolicy().verdict("protected") is Verdict.ASK
    assert SafetyPolicy().verdict("forbidden") is Verdict.DENY
