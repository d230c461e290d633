"""The rules over verdicts, and answers that reviewers give in their own words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.review import MOST_WORDS, ReviewAnswer, ReviewDecision, Verdict, parse, rule

A, C, B = Verdict.APPROVED, Verdict.CONCERNS, Verdict.BLOCKER
GOOD = {
    "verdict": "concerns",
    "summary": "One thing.",
    "issues": [{"path": "a.py", "line": 3, "problem": "off by one"}],
}


@pytest.mark.requirement("REV-3")
@pytest.mark.parametrize(
    ("verdicts", "decision"),
    [
        ([A], "continue"),
        ([A, A], "continue"),
        ([C], "warn"),
        ([A, C], "warn"),
        ([C, C], "pause"),
        ([A, C, C], "pause"),
        ([C, C, C], "pause"),
        ([B], "stop"),
        ([A, B], "stop"),
        ([C, B], "stop"),
        ([C, C, B], "stop"),
        ([B, B], "stop"),
    ],
)
def test_the_worst_of_the_verdicts_decides(verdicts: list[Verdict], decision: str) -> None:
    ruled = rule({f"agent-{number}": verdict for number, verdict in enumerate(verdicts)})

    assert ruled.decision == decision
    blamed = B if decision == "stop" else C if decision in ("pause", "warn") else A
    named = [f"agent-{number}" for number, verdict in enumerate(verdicts) if verdict is blamed]
    assert all(name in ruled.explanation for name in named)
    assert ruled.explanation.endswith(".")


@pytest.mark.requirement("REV-3")
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from(Verdict), min_size=1), st.randoms())
def test_the_decision_does_not_depend_on_the_order_of_the_verdicts(
    verdicts: dict[str, Verdict], random: object
) -> None:
    shuffled = list(verdicts.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert rule(dict(shuffled)) == rule(verdicts)


@pytest.mark.requirement("REV-3")
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from(Verdict), min_size=1))
def test_another_verdict_never_makes_a_decision_milder_unless_it_replaces_one(verdicts: dict[str, Verdict]) -> None:
    strictness = list(ReviewDecision)
    before = strictness.index(rule(verdicts).decision)

    for verdict in Verdict:
        assert strictness.index(rule({**verdicts, "new": verdict}).decision) >= before


@pytest.mark.requirement("REV-2")
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"Here is my review:\n```json\n{json.dumps(GOOD, indent=2)}\n```\nThank you.",
        f"```\n{json.dumps(GOOD)}\n```",
        f"The format is {{verdict, summary}} and I say {json.dumps(GOOD)} after {{much}} thought.",
        f'First {{"verdict": "approved", "summary": "the example"}}, then mine: {json.dumps(GOOD)}',
    ],
)
def test_an_answer_is_read_alone_in_a_fence_and_within_prose(text: str) -> None:
    answer = parse(text)

    assert isinstance(answer, ReviewAnswer), answer
    assert answer.verdict is C
    assert answer.issues[0].said == "a.py:3: off by one"


@pytest.mark.requirement("REV-2")
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "There is no JSON object"),
        ("I approve.", "There is no JSON object"),
        ('{"verdict": "fine", "summary": "s"}', "verdict"),
        ('{"summary": "s"}', "verdict"),
        ('{"verdict": "approved"}', "summary"),
        ('{"verdict": "approved", "summary": "  "}', "must not be blank"),
        ('{"verdict": "approved", "summary": "a\\u0000b"}', "NUL"),
        ('{"verdict": "concerns", "summary": "s", "issues": [{"path": "a"}]}', "issues.0.problem"),
        (json.dumps({"verdict": "approved", "summary": "word " * 301}), "301 words; at most 200 are asked for"),
        ("{" * 5_000, "There is no JSON object"),
        ('{"a":' * 5_000, "There is no JSON object"),
    ],
)
def test_what_is_no_answer_is_told_in_a_sentence(text: str, wrong: str) -> None:
    told = parse(text)

    assert isinstance(told, str)
    assert wrong in told
    assert told.endswith(".")


def test_three_hundred_words_are_taken() -> None:
    assert isinstance(parse(json.dumps({"verdict": "approved", "summary": "word " * MOST_WORDS})), ReviewAnswer)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert isinstance(parse(text), str | ReviewAnswer)
