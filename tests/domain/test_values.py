"""Small values: instants, texts, hashes, budgets."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from wvo_mcp.domain.event import chain_hash
from wvo_mcp.domain.instant import Instant, instant, iso
from wvo_mcp.domain.memory import ContextEntry, tokens, within
from wvo_mcp.domain.text import Id, Prose, Title, as_id, is_id

AT = datetime(2027, 1, 15, 23, 59, 59, 999_000, tzinfo=UTC)


def test_an_instant_is_written_in_utc_with_milliseconds_and_z() -> None:
    assert iso(AT) == "2027-01-15T23:59:59.999Z"
    assert iso(AT.astimezone(timezone(timedelta(hours=5)))) == iso(AT)
    assert instant(iso(AT)) == AT


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="time zone"):
        TypeAdapter(Instant).validate_python("2027-01-15T09:00:00")


@given(st.text())
def test_any_text_becomes_a_legal_id(text: str) -> None:
    assert is_id(as_id(text))


@pytest.mark.parametrize("text", ["T1", "a.b_c-d", "9", "x" * 64])
def test_a_legal_id_is_taken_and_kept(text: str) -> None:
    assert TypeAdapter[str](Id).validate_python(text) == as_id(text) == text


@pytest.mark.parametrize("text", ["", "-x", ".x", "a b", "x" * 65, "T1\n", "ü", "a/b"])
def test_an_illegal_id_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="64"):
        TypeAdapter(Id).validate_python(text)


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (Title, "x" * 501, "500"),
        (Title, "  ", "blank"),
        (Prose, "x" * 16_001, "16000"),
        (Prose, "a\x00b", "NUL"),
        (Prose, "a\ud800b", "surrogate|unicode"),
    ],
)
def test_a_text_that_no_store_can_hold_is_refused_with_the_reason(kind: object, text: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TypeAdapter(kind).validate_python(text)  # pyright: ignore[reportArgumentType]


@pytest.mark.requirement("OBS-2")
def test_every_column_of_an_event_is_part_of_its_hash() -> None:
    row = ("", 1, iso(AT), "task.created", "T1", "ann", "s1", "{}")
    changes: list[tuple[int, object]] = [
        (0, "x"),
        (1, 2),
        (2, "y"),
        (3, "k"),
        (4, None),
        (5, "bob"),
        (6, None),
        (7, "[]"),
    ]

    hashes = {chain_hash(*row)}
    for column, value in changes:
        changed = list(row)
        changed[column] = value  # type: ignore[call-overload]
        hashes.add(chain_hash(*changed))  # type: ignore[arg-type]

    assert len(hashes) == 1 + len(changes)


def entry(topic: str, content: str) -> ContextEntry:
    return ContextEntry(topic=topic, version=1, content=content, tags=(), at=AT, rank=None)


@pytest.mark.requirement("CTX-1")
def test_a_budget_leaves_out_what_is_too_large_and_still_takes_what_fits() -> None:
    entries = [entry("a", "x" * 40), entry("b", "y" * 4_000), entry("c", "z" * 40)]

    kept = within(entries, 30)

    assert [e.topic for e in kept] == ["a", "c"]
    assert sum(tokens(e.topic) + tokens(e.content) for e in kept) <= 30


@pytest.mark.requirement("CTX-1")
def test_a_first_entry_above_the_budget_is_cut_and_not_hidden() -> None:
    kept = within([entry("a", "ü" * 1_000)], 50)

    assert kept[0].content.startswith("üü")
    assert tokens(kept[0].content) <= 50
