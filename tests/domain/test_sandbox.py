"""What a policy allows of the sandbox, and what of it waits for a person."""

from dataclasses import asdict
from typing import Any

import pytest

from wvo_mcp.domain import policy
from wvo_mcp.domain.sandbox import (
    CEILING,
    DEFAULTS,
    FLOOR,
    Grant,
    Limits,
    SandboxPolicy,
    clashing,
    covered,
    excerpt,
    held_back,
    wrong_name,
)

pytestmark = pytest.mark.requirement("SBX-2")

MORE: dict[str, Any] = {
    "images": ["python:3"],
    "mounts": {"read": ["src"], "write": ["out"]},
    "env": ["TOKEN"],
    "egress": ["api.example"],
    "limits": {"memory_mb": 1_024, "seconds": 60},
    "by_label": {"heavy": {"limits": {"memory_mb": 2_048}, "images": ["gcc:1"]}},
}


def test_what_allows_more_than_ships_holds_once_it_was_accepted() -> None:
    shipped, waiting = held_back(MORE, {})
    assert shipped == SandboxPolicy(by_label={"heavy": Grant()})
    named = ("images", "mounts.read", "mounts.write", "env", "egress", "limits.memory_mb", "limits.seconds")
    of_label = ("by_label.heavy.images", "by_label.heavy.limits.memory_mb")
    assert {one.name for one in waiting} == {f"sandbox.{name}" for name in (*named, *of_label)}

    held, waiting = held_back(MORE, MORE)
    assert waiting == [] and held.grant.images == ("python:3",) and held.grant.limits.memory_mb == 1_024
    assert held.of(["heavy", "other"]).images == ("python:3", "gcc:1")
    assert held.of(["heavy"]).limits == Limits(memory_mb=2_048, seconds=60)


def test_the_policy_as_a_whole_holds_it_back_too() -> None:
    held, waiting = policy.held_back({"sandbox": MORE}, {})
    assert held.sandbox.grant == Grant() and len(waiting) == 9


def test_less_holds_at_once_and_its_end_waits() -> None:
    less = {"limits": {"memory_mb": 64}}
    assert held_back(less, {}) == (SandboxPolicy(grant=Grant(limits=Limits(memory_mb=64))), [])
    held, waiting = held_back({}, less)
    assert held.grant.limits.memory_mb == 64 and [one.name for one in waiting] == ["sandbox.limits.memory_mb"]
    assert held_back({}, MORE)[0].grant == Grant()  # what is no longer stated is no longer allowed


def test_no_policy_passes_the_ceiling_nor_turns_a_limit_off() -> None:
    """To the engine, 0 is no limit."""
    huge = {"limits": dict.fromkeys(asdict(DEFAULTS), 10**9)}
    assert held_back(huge, huge)[0].grant.limits == CEILING
    none = {"limits": dict.fromkeys(asdict(DEFAULTS), 0)}
    assert held_back(none, {})[0].grant.limits == FLOOR
    assert Grant().cut(dict.fromkeys(asdict(DEFAULTS), 0))[0] == FLOOR


def test_what_is_asked_beyond_is_cut_and_named() -> None:
    grant = Grant(limits=Limits(memory_mb=1_024, seconds=10))
    limits, cut = grant.cut({"memory_mb": 2_000, "seconds": 5, "cpus": None, "pids": 129})
    assert limits == Limits(memory_mb=1_024, seconds=5) and cut == ["memory_mb", "pids"]
    assert grant.cut({})[0] == Limits(seconds=10)  # no more than ships without asking for it


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("src", "/p/src", True),
        ("src", "/p/src/deep/er", True),
        ("src", "/p/vendor/src", False),
        ("src", "/p/SRC", False),
        ("src", "/p", False),
        ("src/a", "/p/src", False),
        ("src/*", "/p/src/x", True),
        ("src/*", "/p/src", False),
        ("**/data", "/p/a/b/data", True),
        ("**", "/p/x", True),
        (".", "/p/anything", True),
        ("**", "/elsewhere", False),
        ("../x", "/x", False),
        ("/srv/data", "/srv/data/1", True),
        ("/srv/data", "/p/srv/data", False),
        ("/srv/*", "/srvx/1", False),
        ("~/lib", "/h/lib/a", True),
        ("~/lib", "/p/lib", False),
        ("s[r]c", "/p/src", False),
    ],
)
def test_a_list_that_allows_is_anchored_and_takes_letters_as_they_are(pattern: str, path: str, allowed: bool) -> None:
    assert covered([pattern], path, "/p", "/h") is allowed


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a/.", "a\0b", "a\nb", "x" * 256, "a/" * 600 + "b", "\ud800"],
)
def test_names_of_files_stay_below_their_folder(name: str) -> None:
    assert wrong_name(name) is not None


def test_usual_names_of_files_are_taken() -> None:
    names = ["a", "a/b.py", ".hidden", "...", "-rf", "caf\u00e9 \U0001f600", "a\\b", "$(x)"]
    assert [wrong_name(one) for one in names] == [None] * len(names)
    assert clashing(["a", "a/b"]) == "a" and clashing(["a", "ab/c"]) is None


def test_an_excerpt_has_both_ends() -> None:
    assert excerpt("abc", 3) == ("abc", False)
    text, cut = excerpt("a" * 50 + "b" * 50, 20)
    assert cut and text.startswith("a" * 10 + "\n") and text.endswith("\n" + "b" * 10) and "80 characters" in text
