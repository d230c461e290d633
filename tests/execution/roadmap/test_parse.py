"""What is read from a roadmap, and every mistake in it with its line."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from wvo_mcp.domain.roadmap import Roadmap
from wvo_mcp.domain.task import Priority, Status, TaskType
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.roadmap.parse import MAX_BYTES, parse
from wvo_mcp.execution.yaml.reading import SHOWN_PROBLEMS

pytestmark = pytest.mark.requirement("TASK-4", "TASK-5")

NAME = "state/roadmap.yaml"
CONTRACT = """\
epics:
  - id: E1
    title: Checkout
    milestones:
      - {id: M1, title: Beta, due: 2027-01-15}
    tasks:
      - id: T1
        title: Price rules
        priority: high          # critical | high | medium | low
        complexity: 3           # 1-10
        depends_on: []
        milestone: M1
        acceptance: [unit tests pass]
"""
HEAD = "epics:\n  - id: E\n    title: e\n    tasks:\n"


def read(text: str | bytes, loader: Any = None) -> Roadmap:
    data = text.encode() if isinstance(text, str) else text
    return parse(data, NAME, loader).checked(set())


def problems(text: str | bytes, loader: Any = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(text, loader)
    return caught.value


def of_task(*lines: str) -> str:
    """A roadmap with one task whose `- id: T` stands on line 5 and `lines` from line 6."""
    return HEAD + "      - id: T\n" + "".join(f"        {line}\n" for line in ("title: t", *lines))


def test_the_example_of_the_contract_is_read() -> None:
    roadmap = read(CONTRACT)

    (task,) = roadmap.tasks
    assert (task.title, task.priority, task.complexity, task.depends_on) == ("Price rules", Priority.HIGH, 3, ())
    assert (task.epic_id, task.milestone_id, task.acceptance, task.line) == ("E1", "M1", ("unit tests pass",), 7)
    assert roadmap.milestones[0].due_at == datetime(2027, 1, 15, 23, 59, 59, 999_000, UTC)
    assert (roadmap.epics[0].title, roadmap.epics[0].line, roadmap.milestones[0].line) == ("Checkout", 2, 5)


def test_every_key_is_read() -> None:
    keys = ["type: review", "business_value: 12.5", "labels: [a, b]", "files: ['src/**']", "capabilities: [gpu]"]
    more = ["max_attempts: 7", "requires_approval: yes", "not_before: 2027-01-15T10:00:00+01:00", "status: blocked"]
    task = read(of_task("description: long", *keys, *more)).tasks[0]

    assert (task.description, task.type, task.business_value) == ("long", TaskType.REVIEW, 12.5)
    assert (task.labels, task.files, task.capabilities) == (("a", "b"), ("src/**",), ("gpu",))
    assert (task.max_attempts, task.requires_approval, task.status) == (7, True, Status.BLOCKED)
    assert task.not_before == datetime(2027, 1, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "epics:\n", "epics: []", "~", "\ufeff"])
def test_a_file_without_epics_is_an_empty_roadmap(text: str) -> None:
    roadmap = read(text)

    assert (roadmap.epics, roadmap.milestones, roadmap.tasks) == ((), (), ())


def test_ids_and_texts_are_what_they_look_like() -> None:
    task = read(
        HEAD + "      - {id: 010, title: 1e3, labels: [no, on, 010, 0x1F, '~'], description: 2027-01-15}"
    ).tasks[0]

    assert (task.id, task.title, task.description) == ("010", "1e3", "2027-01-15")
    assert task.labels == ("no", "on", "010", "0x1F", "~")


def test_a_key_without_a_value_is_as_good_as_absent() -> None:
    task = read(of_task("priority:", "labels: ~", "milestone: null")).tasks[0]

    assert task.entry() == {"id": "T", "title": "t", "epic_id": "E"}


def test_line_ends_and_byte_order_marks_of_windows_are_read() -> None:
    roadmap = read(b"\xef\xbb\xbf" + CONTRACT.replace("\n", "\r\n").encode())

    assert (roadmap.tasks[0].line, roadmap.tasks[0].title) == (7, "Price rules")


def test_unicode_is_kept_in_texts_and_refused_in_ids() -> None:
    assert read(of_task("description: Grüße 😀 日本")).tasks[0].description == "Grüße 😀 日本"
    error = problems(HEAD + "      - {id: Tür, title: t}")
    assert error.message.startswith(f"{NAME}:5: epics[0].tasks[0].id: expected an id")


def test_a_task_may_use_a_milestone_of_another_epic() -> None:
    later = "  - id: E2\n    title: x\n    tasks:\n      - {id: T2, title: t, milestone: M1, depends_on: [T1]}\n"
    assert read(CONTRACT + later).tasks[1].milestone_id == "M1"


TASK = "epics[0].tasks[0]"
ID = "an id (1 to 64 of letters, digits, '.', '_', '-', the first a letter or digit)"
WRONG_VALUES = [
    ("prio: high", ".prio", "unknown key 'prio'. Did you mean priority?"),
    ("milestone_id: M", ".milestone_id", "unknown key 'milestone_id'. Did you mean milestone?"),
    ("priority: urgent", ".priority", "expected one of critical, high, medium, low, found 'urgent'"),
    ("type: code", ".type", "expected one of generation, parsing, validation, review, other, found 'code'"),
    ("complexity: 11", ".complexity", "expected a whole number from 1 to 10, found '11'"),
    ("complexity: 3.5", ".complexity", "expected a whole number from 1 to 10, found '3.5'"),
    ("complexity: 010", ".complexity", "expected a whole number from 1 to 10, found '010'"),
    ('complexity: "3"', ".complexity", "expected a whole number from 1 to 10, found '3' in quotes"),
    ("complexity: [3]", ".complexity", "expected a whole number from 1 to 10, found a list"),
    ("business_value: 20.5", ".business_value", "expected a number from 0 to 20, found '20.5'"),
    ("business_value: -1", ".business_value", "expected a number from 0 to 20, found '-1'"),
    ("business_value: .inf", ".business_value", "expected a number from 0 to 20, found '.inf'"),
    ("max_attempts: 0", ".max_attempts", "expected a whole number from 1 to 100, found '0'"),
    ("requires_approval: maybe", ".requires_approval", "expected true or false, found 'maybe'"),
    ("labels: backend", ".labels", "expected a list, like [one, two], found 'backend'"),
    ("labels: [a, {b: c}]", ".labels[1]", "expected text, found a mapping"),
    ("labels: [a, ~]", ".labels[1]", "expected text, found nothing"),
    ("labels: ['']", ".labels[0]", "expected text, found ''"),
    (f"labels: [{'x' * 101}]", ".labels[0]", "expected at most 100 characters, found 101"),
    (f"labels: [{'x,' * 51}]", ".labels", "expected at most 50 items, found 51"),
    (f"description: {'x' * 16_001}", ".description", "expected at most 16,000 characters, found 16,001"),
    (r'description: "a\0b"', ".description", "expected text that a database can hold; it contains a NUL character"),
    ("depends_on: [a b]", ".depends_on[0]", f"expected {ID}, found 'a b'"),
    (f"parent: {'p' * 65}", ".parent", f"expected {ID}, found '{'p' * 57}...'"),
    (
        "not_before: 2027-01-15T09:00:00",
        ".not_before",
        "expected a time with its zone, like 2027-01-15T09:00:00Z, or a date",
    ),
    ("not_before: 0001-01-01T00:00:00+14:00", ".not_before", "expected a time with its zone"),
    (
        "status: done",
        ".status",
        "expected pending (to reopen), blocked or cancelled; the database keeps progress, found 'done'",
    ),
    (
        "status: open",
        ".status",
        "expected pending (to reopen), blocked or cancelled; the database keeps progress, found",
    ),
    ("title: again", ".title", "expected each key once; it is repeated here"),
    ("? [a]\n        : b", "", "expected a name before the ':'"),
    ("<<: [x]", ".<<", "unknown key '<<'"),
    ("depends_on: [X]", ".depends_on[0]", "expected the id of a task; there is no X."),
    ("parent: X", ".parent", "expected the id of a task; there is no X."),
    ("milestone: X", ".milestone", "expected the id of a milestone; there is no X."),
    ("depends_on: [T]", ".depends_on[0]", "T cannot wait for itself; remove it"),
]


@pytest.mark.parametrize(("line", "field", "message"), WRONG_VALUES, ids=[line[:40] for line, _, _ in WRONG_VALUES])
@pytest.mark.parametrize("loader", [None, yaml.SafeLoader], ids=["libyaml", "python"])
def test_a_wrong_value_is_named_with_its_line(line: str, field: str, message: str, loader: Any) -> None:
    error = problems(of_task("complexity: 2" if "complexity" not in line else "priority: low", line), loader)

    (problem,) = error.details["problems"]
    assert (problem["line"], problem["field"]) == (8, TASK + field)
    assert problem["problem"].startswith(message)
    assert error.message.startswith(f"{NAME}:8: {TASK}{field}: {message}")
    assert (error.details["field"], error.details["count"]) == ("roadmap", 1)


SYNTAX = [
    ("epics:\n  - id: E\n    title: a: b\n", 3, "': ' inside unquoted text; expected the value in quotes"),
    ("epics:\n\t- id: E\n", 2, "expected spaces for indentation, found a tab"),
    ("epics:\n  - id: E\n    title: `x`\n", 3, "expected the value in quotes; '`' cannot start one without"),
    ("epics:\n  - id: E\n   title: x\n", 3, "expected '- ' at the same indentation as the items above"),
    ("epics:\n  - {id: E, title: x\n", 2, "expected ',' or '}'; a mapping is not closed"),
    ('epics:\n  - id: "E\n', 2, "expected a closing quote before the end of the file"),
    ("epics:\n  - id: *e\n", 2, "expected the value itself, found '*e'; write it out"),
    ("epics: &all\n  - id: E\n", 1, "expected the value itself, found '&all'; write it out"),
    ("epics:\n  - !!python/name:os.system x\n", 2, "expected no tag, found 'tag:yaml.org,2002:python/name:os.system'"),
    ("epics: []\n---\nepics: []\n", 2, "expected one document, found a second one ('---')"),
    ("epics:\n  - id: \x07\n", 2, "expected printable text, found U+0007"),
    ("epics:\n  " + "[" * 13 + "]" * 13, 2, "expected at most 12 levels, one inside the other"),
    ("epics:\n  - {" + ", ".join(f"k{i}: 1" for i in range(101)) + "}", 2, "expected at most 100 keys in one mapping"),
    ("- id: E\n", 1, "expected 'epics:' with a list of epics"),
    ("epics: {E1: {}}\n", 1, "epics: expected a list of epics, found a mapping"),
    ("epics:\n  - E1\n", 2, "epics[0]: expected an epic with 'id:' and 'title:'"),
    ("epics:\n  - id: E\n", 2, "epics[0].title: expected 'title: ...', found nothing"),
    ("epics:\n  - {id: E, title: e, wip_limit: 0}", 2, "epics[0].wip_limit: expected a whole number from 1 to 1,000"),
    ("epics:\n  - id: E\n    title: e\n    tasks:\n      - T\n", 5, "epics[0].tasks[0]: expected a task with 'id:' and"),
    ("epics:\n- id: E\n  title: e\n  milestones:\n  - {id: M, title: m, due: 2027-02-30}\n", 5, "expected a date that exists"),
    ("roadmap:\n  epics: []\n", 1, "roadmap: unknown key 'roadmap'. Known are project, epics."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), SYNTAX, ids=[message[:40] for _, _, message in SYNTAX])
def test_what_is_no_roadmap_is_refused_with_line_and_expectation(text: str, line: int, message: str) -> None:
    error = problems(text)

    assert error.message.startswith(f"{NAME}:{line}: ")
    assert message in error.message


def test_text_that_is_not_utf_8_is_refused_with_its_line() -> None:
    assert problems(CONTRACT.replace("Price", "Preis\u00e9").encode("latin-1")).message == (
        f"{NAME}:8: expected UTF-8, found the byte 0xE9; save the file as UTF-8"
    )
    assert "found UTF-16; save the file as UTF-8" in problems(CONTRACT.encode("utf-16")).message


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "expected at most 32 MiB" in problems(b"#" * (MAX_BYTES + 1)).message


def test_all_problems_are_collected_in_the_order_of_the_lines() -> None:
    tasks = "".join(f"      - {{id: T{i}, title: t, complexity: {i}, depends_on: [nobody]}}\n" for i in range(11, 31))

    error = problems(HEAD + tasks)

    assert error.details["count"] == 40
    assert [each["line"] for each in error.details["problems"]] == [5 + i // 2 for i in range(SHOWN_PROBLEMS)]
    assert error.message.endswith("(and 39 more)")


def test_problems_that_lie_between_tasks_point_to_their_own_lines() -> None:
    error = problems(
        of_task("depends_on:", "  - U", "  - V  # soon", "milestone: V")
        + "      - {id: U, title: u, depends_on: [T]}\n"
    )

    assert [(each["line"], each["field"]) for each in error.details["problems"]] == [
        (8, f"{TASK}.depends_on[0]"),
        (9, f"{TASK}.depends_on[1]"),
        (10, f"{TASK}.milestone"),
    ]
    assert "T (line 5) -> U (line 11) -> T (line 5)" in error.details["problems"][0]["problem"]


def test_an_id_that_is_used_twice_is_named_where_it_is_used_again() -> None:
    milestones = "  milestones:\n  - {id: E, title: m}\n  - m\n"
    error = problems("epics:\n- id: E\n  title: e\n" + milestones + "- id:   E\n  title: e\n")

    assert [(each["line"], each["column"], each["field"]) for each in error.details["problems"]] == [
        (5, 10, "epics[0].milestones[0].id"),
        (6, 5, "epics[0].milestones[1]"),
        (7, 9, "epics[1].id"),
    ]
    assert "already is the id of the epic on line 2" in error.details["problems"][0]["problem"]


def test_tags_of_yaml_itself_are_read_and_decide_between_text_and_number() -> None:
    assert read("epics: !!seq\n- !!map {id: !!str 5, title: ! 7, wip_limit: !!int 3}\n").epics[0].wip_limit == 3
    assert "found '3' in quotes" in problems("epics:\n- {id: E, title: e, wip_limit: !!str 3}\n").message


@pytest.mark.requirement("TASK-5")
@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ("        title: one\n       priority: high\n      - id: T2\n        title: two\n", 8),
        ("        title: one\n          priority: high\n", 8),
        ("        title: one\n        priority:high\n        complexity: 3\n", 8),
        ("        description: some\n      text goes on\n        title: one\n", 8),
        ('        title: "one\n      - id: T2\n        title: two\n', 7),
        ("        title: one\n        acceptance: [a, b\n        priority: high\n      - id: T2\n", 8),
        ("        title: one\n        labels: {a: b\n      - id: T2\n", 8),
    ],
)
def test_a_slip_of_indentation_or_a_bracket_names_the_line_that_has_it(rest: str, line: int) -> None:
    text = "# 日本 é\nepics:\n  - id: E\n    title: E\n    tasks:\n      - id: T1\n" + rest

    with pytest.raises(InvalidInput) as refused:
        parse(text.encode(), "r")

    assert refused.value.details["problems"][0]["line"] == line


@pytest.mark.requirement("TASK-5")
@pytest.mark.parametrize(
    ("acceptance", "warned"),
    [
        ("[reads 1,000 rows, tests pass]", True),
        ("['reads 1,000 rows', tests pass]", True),
        ("['reads 1,000 rows', 'tests pass']", False),
        ("[unit tests pass]", False),
        ("\n          - reads 1,000 rows, and tests pass\n          - x", False),
    ],
)
def test_criteria_that_commas_may_have_split_are_reported_with_their_line(acceptance: str, warned: bool) -> None:
    head = "epics:\n  - id: E\n    title: E\n    tasks:\n      - id: T1\n        title: one\n"

    roadmap = parse(f"{head}        acceptance: {acceptance}\n".encode(), "r").checked(set())

    assert [warning.startswith("line 7: epics[0].tasks[0].acceptance has") for warning in roadmap.warnings] == [
        True
    ] * warned
