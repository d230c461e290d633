"""What is told of a long output: its first complaints and its end."""

import pytest

from wvo_mcp.execution.merging.telling import MOST, what_matters

pytestmark = pytest.mark.requirement("REV-4")


def noise(lines: int) -> str:
    return "".join(f"step {number} of the build went as it should, and took {number} ms\n" for number in range(lines))


def test_short_output_is_whole() -> None:
    assert what_matters("\none\ntwo\n") == "one\ntwo"


@pytest.mark.parametrize(
    ("complaint", "known"),
    [
        ("def test_price():\nE   assert 1 == 2\n\nshop.py:4: AssertionError", "E   assert 1 == 2"),
        ("  ● cart adds\n\n    expect(received).toBe(expected)\n\n    Expected: 2\n    Received: 1", "Expected: 2"),
        ("--- FAIL: TestPrice (0.00s)\n    shop_test.go:9: got 1, want 2", "got 1, want 2"),
        ("error[E0308]: mismatched types\n --> src/lib.rs:3:5\n  |\n3 | \"one\"\n  | ^^^^^ expected `i32`", "expected `i32`"),
        ("main.c:3:5: error: unknown type name 'it'\nmake: *** [Makefile:2: main.o] Error 1", "unknown type name"),
        ("sh: 1: pytst: command not found", "command not found"),
        ("npm ERR! missing script: tset", "missing script"),
        ("panic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\nmain.main()", "index out of range"),
    ],
)  # fmt: skip
def test_a_complaint_in_the_middle_is_shown_with_the_end(complaint: str, known: str) -> None:
    said = what_matters(noise(2_000) + complaint + "\n" + noise(2_000) + "2 tests failed\n")
    assert len(said) <= MOST
    assert known in said
    assert said.endswith("2 tests failed")


def test_the_first_complaints_come_before_later_ones() -> None:
    said = what_matters("".join(f"E       number {number}\n" for number in range(2_000)))
    assert said.startswith("E       number 0\n")
    assert said.endswith("E       number 1999")
    assert len(said) <= MOST


@pytest.mark.parametrize("output", ["x" * 1_000_000, "\n" * 100_000 + "end", "E  " + "é" * 100_000, "\r" * 50_000])
def test_odd_output_stays_within_bounds(output: str) -> None:
    assert len(what_matters(output)) <= MOST
