"""What the policy says of changed files, whatever their paths are spelt like (WS-4, WS-7)."""

from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wvo_mcp.domain.files import covers, overlap
from wvo_mcp.domain.policy import DEFAULT_SEVERITIES, PROTECTED, SEVERITIES, SafetyPolicy, matching
from wvo_mcp.domain.validation import (
    MOST_SHOWN,
    Change,
    Content,
    Severity,
    drifts,
    of_content,
    of_path,
    of_sizes,
    of_task,
    validation,
)

POLICY = SafetyPolicy()
NAMES = st.text(
    st.sampled_from("aZ._- *?[]!~\\\n\té\u0301\u200d\udcff\uff0e") | st.characters(), min_size=1, max_size=8
)
PATHS = st.lists(NAMES.filter(lambda one: "/" not in one and "\0" not in one), min_size=1, max_size=5).map("/".join)


def changed(path: str, mode: str = "100644", old: str = "000000") -> Change:
    return Change(path, mode, old, "f" * 40)


def rules(path: str, mode: str = "100644", old: str = "000000", policy: SafetyPolicy = POLICY) -> list[str]:
    return [one.rule for one in of_path(changed(path, mode, old), policy)]


def link(path: str, target: str) -> list[str]:
    content = Content(len(target), link=target)
    return [one.message for one in of_content(changed(path, "120000"), content, POLICY)]


def test_severities_are_those_of_the_policy() -> None:
    assert [one.name.lower() for one in Severity] == list(SEVERITIES)


@pytest.mark.requirement("WS-7")
@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a/..", "a/./b", "a//b", "a/", ".. /x", "a\0b"),
        *(
            ".git",
            "a/.git/config",
            ".GIT/hooks/x",
            ".git./config",
            ".git /x",
            ".g\u200dit/x",
            "\uff0egit/x",
            ".git . ./x",
        ),
    ],
)
def test_a_path_that_no_repository_may_hold_is_critical(path: str) -> None:
    (found,) = of_path(changed(path), SafetyPolicy(allowed=("**",)))

    assert (found.severity, found.rule) == (Severity.CRITICAL, "traversal")


@pytest.mark.requirement("WS-4")
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("state/policy.yaml", ["protected"]),
        ("STATE/x", ["protected"]),
        ("state./x", ["protected"]),
        ("src/state/x.py", []),
        ("state-evil/x", []),
        ("sub/.mcp.json ", ["protected"]),
        ("sub/.\uff2d\uff23\uff30.json", ["protected"]),
        ("x.mcp.json", []),
        (".github/workflows/a\nb.yml", ["protected"]),
        (".github", ["protected"]),
        ("secret/a", ["forbidden"]),
        ("secret-evil/a", []),
        ("Secret./a", ["forbidden"]),
        ("docs.", []),
    ],
)
def test_folders_that_look_alike_are_told_apart_and_spellings_are_not(path: str, found: list[str]) -> None:
    assert rules(path, policy=SafetyPolicy(forbidden=("/secret",))) == found
    assert rules(path, "000000", "100644", SafetyPolicy(forbidden=("/secret",))) == found, "nor removed"


@pytest.mark.requirement("WS-4")
@given(PATHS)
def test_every_path_is_judged_and_shown_without_control_characters(path: str) -> None:
    for one in (*of_path(changed(path, "100755"), POLICY), *of_task([changed(path)], POLICY, ["src/**"], ())):
        assert one.message.isprintable()
        assert one.as_json()["path"].isprintable()


@pytest.mark.requirement("WS-4")
@given(st.sampled_from(PROTECTED), PATHS, st.sampled_from(["", ".", " ", ". ."]), st.booleans())
def test_nothing_below_a_protected_name_escapes(pattern: str, below: str, end: str, upper: bool) -> None:
    folder = pattern.strip("/").replace("*", "x")
    path = f"{folder.upper() if upper else folder}{end}/{below}"

    found = rules(path)

    assert "protected" in found or "traversal" in found


@pytest.mark.requirement("WS-4")
@given(PATHS, NAMES.filter(lambda one: "/" not in one and one.isascii() and one.isalnum()))
def test_a_longer_name_is_another_one(path: str, more: str) -> None:
    assert matching(["/repo"], f"repo{more}/{path}") is None
    assert matching(["/repo"], f"repo-{more}/{path}") is None
    assert drifts(["repo", "repo/**"], f"repo-{more}/{path}")
    assert not drifts(["repo"], f"repo/{path}")


@given(
    st.text(st.sampled_from("ab/*?."), min_size=1, max_size=8), st.text(st.sampled_from("ab/."), min_size=1, max_size=8)
)
@example("a/**", "a/b")
def test_a_path_is_covered_by_what_overlaps_with_it(glob: str, path: str) -> None:
    parts = path.split("/")
    if "" not in parts and "." not in parts and ".." not in parts:
        assert overlap(glob, path) or not covers(glob, path)
        assert covers(path, path)


def test_wildcards_in_the_name_of_a_file_mean_themselves() -> None:
    assert covers("pages/[id].tsx", "pages/i.tsx")
    assert drifts(["src/*.py"], "**")
    assert drifts(["src/*.py"], "s?c/a.py")
    assert not drifts([], "x")
    assert not drifts(["src"], "src/a\nb")


def test_hostile_globs_do_not_keep_the_judge() -> None:
    before = perf_counter()
    covers("*a" * 200, "a" * 4_000)
    covers("**/a" * 4, "a/" * 2_000 + "b")
    assert perf_counter() - before < 3


@pytest.mark.requirement("WS-7")
@pytest.mark.parametrize(
    ("path", "target", "why"),
    [
        ("l", "/etc/passwd", "is outside"),
        ("l", "../x", "is outside"),
        ("a/l", "../../x", "is outside"),
        ("a/l", "./.././../x", "is outside"),
        ("a/l", "b/../../x", "may lead outside"),
        ("l", ".git/config", "belongs to git"),
        ("a/l", "../.GIT/hooks", "belongs to git"),
        ("l", "", "is outside"),
        ("a/l", "../x", None),
        ("a/l", "../", None),
        ("l", "a/b", None),
        ("l", "..x", None),
    ],
)
def test_a_link_stays_inside_or_is_found(path: str, target: str, why: str | None) -> None:
    found = link(path, target)

    assert bool(found) == (why is not None)
    assert why is None or why in found[0]


@pytest.mark.requirement("WS-7")
def test_executables_modules_and_sizes_are_found() -> None:
    assert rules("run.sh", "100755") == ["executable"]
    assert rules("run.sh", "100755", "100755") == []
    assert rules("lib", "160000", "160000") == ["submodule"]
    assert [one.rule for one in of_content(changed("a"), Content(51 << 20, program=True), POLICY)] == [
        "executable",
        "size",
    ]
    assert [one.message for one in of_sizes(1 << 30, 0, POLICY)] == []
    (own,) = of_sizes((1 << 30) + 1, 0, POLICY)
    (all_,) = of_sizes(1, 10 << 30, POLICY)
    assert (own.rule, own.severity) == ("quota", Severity.ERROR)
    assert "limits.workspaces_mb" in all_.message


@pytest.mark.requirement("WS-4")
def test_severities_are_what_the_policy_says() -> None:
    for kind in DEFAULT_SEVERITIES:
        for severity in SEVERITIES:
            policy = SafetyPolicy(
                severities={**DEFAULT_SEVERITIES, kind: severity}, forbidden=("bad",), file_mb=1, workspace_mb=1
            )
            change = changed("bad/.mcp.json", "100755")
            found = [
                *of_path(change, policy),
                *of_path(changed("m", "160000"), policy),
                *of_content(change, Content(2 << 20, link="/x"), policy),
                *of_task([change], policy, ["src"], (), [("T2", ["**"])]),
                *of_sizes(2 << 20, 0, policy),
            ]
            assert {one.severity.name.lower() for one in found if one.rule == kind} == {severity}


def test_the_worst_are_kept_and_all_are_counted() -> None:
    many = [*of_task([changed(f"f{number}") for number in range(500)], POLICY, ["src"], ["f499"])]

    found = validation(many, judged=100, total=500, size=1)

    assert (len(found.findings), found.violations) == (MOST_SHOWN, 501)
    assert (found.findings[0].path, found.findings[0].rule) == ("f499", "included")
    assert found.sampled == "the contents of 100 of 500 changed files were looked at; all paths were"
