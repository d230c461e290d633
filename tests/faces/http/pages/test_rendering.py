"""What is sent of a page: what differs, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.faces.http.pages.rendering import (
    CSRF,
    SEEN,
    Picture,
    Region,
    difference,
    digest,
    environment,
    personal,
)

pytestmark = pytest.mark.requirement("DASH-1")


ROW = re.compile(r"<!--row:(.*?)-->(.*?)<!--/row-->")


def region(name: str, rows: dict[str, str], title: str = "") -> Region:
    marked = "".join(f"<!--row:{key}--><li id='x' id=\"r-{key}\">{text}</li><!--/row-->" for key, text in rows.items())
    html = f'<ul id="{name}">{title}{marked}</ul>'
    return Region(html, ROW.sub(r"<!--row:\1-->", html), dict(ROW.findall(html)))


def targets(sent: str) -> list[str]:
    return re.findall(r'hx-target="#([^"]+)"', sent)


def test_only_rows_that_differ_are_sent_where_the_rest_is_equal() -> None:
    before = {"live_a": region("live_a", {"1": "one", "2": "two"}), "live_b": region("live_b", {"3": "three"})}
    now = {"live_a": region("live_a", {"1": "one", "2": "TWO"}), "live_b": before["live_b"]}

    assert targets(difference(before, now)) == ["r-2"]


@pytest.mark.parametrize("rows", [{"1": "one"}, {"2": "two", "1": "one"}, {"1": "one", "2": "two", "3": "new"}])
def test_a_region_with_other_rows_or_another_order_is_sent_whole(rows: dict[str, str]) -> None:
    before = {"live_a": region("live_a", {"1": "one", "2": "two"})}

    assert targets(difference(before, {"live_a": region("live_a", rows)})) == ["live_a"]


def test_who_shows_nobody_knows_what_is_sent_all_of_it() -> None:
    now = {"live_a": region("live_a", {}), "live_b": region("live_b", {})}

    assert targets(difference(None, now)) == ["live_a", "live_b"]
    assert difference(now, now) == ""


def test_an_id_with_a_dot_or_a_colon_is_a_selector_of_that_element_alone() -> None:
    before = {"live_a": region("live_a", {"T.1:2": "a"})}

    assert targets(difference(before, {"live_a": region("live_a", {"T.1:2": "b"})})) == [r"r-T\.1\:2"]


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["x", "y", "z"]), max_size=6)


@given(st.lists(st.tuples(ROWS, ROWS, st.sampled_from(["", "title"])), min_size=1, max_size=8))
def test_whoever_applies_the_differences_shows_what_is_now(
    states: list[tuple[dict[str, str], dict[str, str], str]],
) -> None:
    """A browser in four lines: regions by their ids, rows within them."""
    shown: dict[str, str] = {}
    before: Picture | None = None
    for first, second, title in states:
        now = {"live_a": region("live_a", first, title), "live_b": region("live_b", second)}
        sent = difference(before, now)
        for target, html in re.findall(r'<hx-partial hx-target="#([^"]+)"[^>]*>(.*?)</hx-partial>', sent, re.DOTALL):
            if target.startswith("live_"):
                shown[target] = html
            else:
                for name, old in shown.items():
                    shown[name] = re.sub(rf'<li id=\'x\' id="{target}">.*?</li>', html, old)
        before = now
        assert shown == {name: one.html for name, one in now.items()}
        assert digest(now) == digest({name: one for name, one in reversed(now.items())})


def test_what_is_personal_is_filled_in_as_text() -> None:
    html = personal(f'value="{CSRF}" value="{SEEN}"', '"><script>', 7)

    assert html == 'value="&#34;&gt;&lt;script&gt;" value="7"'


def shared(template: str, **given: object) -> str:
    return environment().from_string(template).render(given)


@pytest.mark.parametrize(("warn", "kind"), [(0.8, 'class="bar full"'), (2, 'class="bar"')])
def test_a_full_bar_is_bad_only_where_more_is_worse(warn: float, kind: str) -> None:
    assert kind in shared("{{ ui.bar(1, '100 %', warn) }}", warn=warn)


def test_a_state_lasts_and_an_hour_of_a_table_stays_as_it_is() -> None:
    at = "2026-11-25T07:00:00.000Z"
    asked = "{{ ui.since(at) }} {{ ui.hour(at) }} {{ ui.hour(at, false) }}"

    lasts, hour, day = (
        f'<time datetime="{at}" data-{kind}>{text}</time>'
        for kind, text in (
            ("lasts", "since 2026-11-25 07:00:00 UTC"),
            ("as-is", "2026-11-25 07:00"),
            ("as-is", "2026-11-25"),
        )
    )
    assert shared(asked, at=at) == f"{lasts} {hour} {day}"


def test_a_text_is_cut_only_where_that_makes_it_shorter() -> None:
    assert shared("{{ text|short(100) }}", text="x" * 109) == "x" * 109
    assert "[... 100 more characters ...]" in shared("{{ text|short(100) }}", text="x" * 200)
