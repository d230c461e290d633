"""How well known errors are found again, and how seldom one is offered for an error of no known pattern.

The numbers are of texts that no part of the code was tuned with (`texts.split`).
"""

from collections.abc import Callable

import pytest

from tests.retrieval.texts import HELD_OUT_KNOWN, HELD_OUT_OTHERS, Text, learned_and_asked, read, split
from tests.support.bench import Bench
from wvo_mcp.domain.likeness import LEAST
from wvo_mcp.domain.pattern import OFFERED, Category, Source
from wvo_mcp.domain.signature import signature
from wvo_mcp.orchestration import patterns
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("CTX-3")]

RECALL, FALSE_OFFERS = 0.9, 0.02


async def learn(bench: Bench, texts: list[Text]) -> dict[str, str]:
    """Labels by pattern."""

    async def each(tx: Transaction) -> dict[str, str]:
        labels: dict[str, str] = {}
        for one in texts:
            found = await patterns.learned(
                tx,
                one.text,
                category=Category.SUCCESS,
                cause=None,
                solution=f"what helps against {one.label}",
                worked=True,
                source=Source.OUTCOME,
            )
            assert found is not None
            labels[found[0].pattern_id] = one.label
        return labels

    return await bench.write(each)


async def offered(bench: Bench, text: str, labels: dict[str, str]) -> list[str]:
    async def look(tx: Transaction) -> list[str]:
        found = await tx.patterns.alike(signature(text), OFFERED, LEAST)
        return [labels[one.pattern.pattern_id] for one in found]

    return await bench.read(look)


def test_the_texts_are_as_many_as_they_say_and_none_is_in_both_halves() -> None:
    learned, asked = learned_and_asked()
    others = read("others.txt")
    tuning, held_out = split(asked, HELD_OUT_KNOWN)

    assert 50 <= len(learned) <= 60 and len({one.label for one in learned}) == len(learned)
    assert (len(asked), len(tuning), len(held_out)) == (200, 100, 100)
    assert len(split(others, HELD_OUT_OTHERS)[1]) == 200
    assert all(one.origin for one in (*learned, *asked, *others))
    every = [one.text for one in (*learned, *asked, *others)]
    assert len(set(every)) == len(every)


async def test_a_known_error_is_found_again_in_another_dress(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    learned, asked = learned_and_asked()
    labels = await learn(bench, learned)
    assert len(labels) == len(learned)
    _, held_out = split(asked, HELD_OUT_KNOWN)

    found = [one.label in await offered(bench, one.text, labels) for one in held_out]

    recall = sum(found) / len(found)
    record_property("recall", recall)
    assert recall >= RECALL


async def test_an_error_of_no_known_pattern_is_offered_nothing(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    labels = await learn(bench, learned_and_asked()[0])
    _, held_out = split(read("others.txt"), HELD_OUT_OTHERS)

    wrong = [bool(await offered(bench, one.text, labels)) for one in held_out]

    rate = sum(wrong) / len(wrong)
    record_property("false offers", rate)
    assert rate <= FALSE_OFFERS
