"""Free text: only what nothing but a provider's program prints is a signal; and the times that texts name."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.domain.providers.signals.sentences import from_text, moment_in, retry_in, seconds_in

pytestmark = pytest.mark.requirement("PROV-4")

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
K = FailureKind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("You've hit your usage limit. Try again at 3:05 PM.", K.RATE_LIMIT),
        ("You\u2019ve hit your usage limit. Try again later.", K.RATE_LIMIT),
        ("codex failed: You've hit your usage limit. Visit a page or try again at 3:05 PM.", K.RATE_LIMIT),
        ("The worker ended.\nERROR: exceeded retry limit, last status: 429 Too Many Requests", K.RATE_LIMIT),
        ("API Error: Request rejected (429) · This request would exceed your account's rate limit.", K.RATE_LIMIT),
        ("claude: API Error: 529 Overloaded. This is a server-side issue.", K.CAPACITY),
        ("Selected model is at capacity. Please try a different model.", K.CAPACITY),
        ("[API Error: You have exhausted your capacity on this model. Your quota will reset after 2h.]", K.CAPACITY),
        ("[API Error: You exceeded your current quota, please check your plan. Please retry in 12.5s.]", K.RATE_LIMIT),
        ("[API Error: You have exhausted your daily quota on this model.]", K.QUOTA),
        ("You've hit your weekly limit · resets Nov 24, 5pm (UTC)", K.QUOTA),
        ("Claude AI usage limit reached|1795280400", K.QUOTA),
        ("Credit balance is too low", K.QUOTA),
        ("Quota exceeded. Check your plan and billing details.", K.QUOTA),
        ("Invalid API key · Please run /login", K.AUTH),
        ("Not logged in · Please run /login", K.AUTH),
        ("OAuth token has expired. Please obtain a new token.", K.AUTH),
        ("unexpected status 401 Unauthorized: wrong key, url: http://localhost/v1/responses", K.AUTH),
        ("stream disconnected before completion: idle timeout waiting for SSE", K.OUTAGE),
        ("API Error: 500 Internal server error. This is a server-side issue, usually temporary.", K.OUTAGE),
        ("Codex ran out of room in the model's context window. Start a new thread.", K.CONTEXT),
        ("Not inside a trusted directory and --skip-git-repo-check was not specified.", K.PERMISSION),
        ("This request has been flagged for possible cybersecurity risk.", K.REFUSAL),
    ],
)
def test_what_programs_print_is_known_in_free_text(text: str, kind: FailureKind) -> None:
    signal = from_text(text, NOW)

    assert signal is not None
    assert signal.kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The test of the rate limit fails: expected 429, got 200",
        "rate limit exceeded in test_limiter.py::test_burst",
        "Error: Rate limit middleware returns 500",
        "429 Too Many Requests from api.example.com while fetching the fixture",
        'AssertionError: assert "You\'ve hit your usage limit" in output',
        "The message 'Selected model is at capacity' is not shown to the user",
        "I could not find where 'API Error: 529' is raised.",
        "- You must handle: quota exceeded, overloaded, timeout",
        "HTTP 401 Unauthorized from the service under test",
        "connection refused: postgres is not running",
        "Permission denied: src/main.py",
        "the context window of the editor is closed",
        "disk quota exceeded",
        "pytest timed out",
        "Model is at capacity planning stage",
        "We resolved to retry in 5 minutes",
        "Credit balance is too low error is not shown in the wallet",
        "OAuth token expired and the login page loops",
        "OAuth token has been revoked: the test expects a redirect",
        "API error: 500 Internal Server Error from /users",
        "API Error: connection error to the database",
        "unexpected status 401 Unauthorized",
        "Request rejected (429) by the gateway under test",
        "overloaded_error is not retried by the client",
        "RetryableQuotaError is never thrown",
        "You're out of credits is shown twice on the page",
        "You've hit your usage limit. The dialog has no button",
        "You've hit your weekly goal!",
        "You've hit your monthly limit is shown to free users",
        "You're out of credits.",
        "Your workspace is out of credits banner is shown to admins only",
        "Please run /login endpoint tests again",
        "failed to authenticate. API errors are not shown",
        "Invalid API key · the banner does not vanish",
        "Your access token could not be refreshed because the mock is down",
        "Your authentication token has been invalidated after a change of password - the test expects a logout",
        "Please set an auth method in your docker registry",
        "unexpected status 502 Bad Gateway, url: http://localhost:3000/api",
        "unexpected status 401 Unauthorized: token missing, url: http://localhost:8080/login",
        "exceeded retry limit, last status: 503",
        "exceeded retry limit, last status: 429 while the fixtures are loaded",
        "stream disconnected before completion in websocket_test.go:88",
        "API Error: 529 is mapped to 503 by our gateway",
        "API Error: Request rejected (429) by our nginx",
        "No capacity available for modelling room 3",
        "You have exhausted your capacity on this model railway",
        "This content was flagged for possible spam by our moderation",
        "This request was blocked due to a content security policy violation",
        # Quoted: in a difference, a list, a comment, a table, a literal.
        "- You've hit your usage limit. Try again later.",
        "+API Error: 529 Overloaded",
        "> Quota exceeded. Check your plan and billing details.",
        '"You\'ve hit your usage limit. Try again at 3:05 PM.",',
        "'Selected model is at capacity. Please try a different model.'",
        "// stream disconnected before completion: closed",
        "* Credit balance is too low",
        "| API Error: 529 | capacity |",
    ],
)
def test_a_task_about_limits_is_no_signal(text: str) -> None:
    assert from_text(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "after", "at"),
    [
        ("try again at 3:05 PM", None, datetime(2026, 11, 21, 15, 5, tzinfo=UTC)),
        ("or try again at 9:40 AM.", None, datetime(2026, 11, 22, 9, 40, tzinfo=UTC)),
        ("try again at 11:59 AM", None, datetime(2026, 11, 21, 11, 59, tzinfo=UTC)),
        ("resets 5pm (UTC)", None, datetime(2026, 11, 21, 17, tzinfo=UTC)),
        ("resets 3am (America/Los_Angeles)", None, datetime(2026, 11, 22, 11, tzinfo=UTC)),
        ("resets tomorrow at 5pm", None, datetime(2026, 11, 22, 17, tzinfo=UTC)),
        ("resets Nov 24, 5pm (Europe/Berlin)", None, datetime(2026, 11, 24, 16, tzinfo=UTC)),
        ("resets Jan 2", None, datetime(2027, 1, 2, tzinfo=UTC)),
        ("try again at Nov 26th, 2026 10:47 AM.", None, datetime(2026, 11, 26, 10, 47, tzinfo=UTC)),
        ("resets at 2026-11-21T14:00:00+02:00", None, NOW),
        ("limit reset|1795262400", None, NOW),
        ("usage limit reached|1795262400", None, NOW),
        ("Please retry in 12.5s", 12.5, None),
        ("Please try again in 350ms.", 0.35, None),
        ("Suggested retry after 60s.", 60, None),
        ("resets in 2 hours 30 minutes", 9000, None),
        ("Your quota will reset after 18h41m25s.", 67285, None),
        ("Try again in 3 days, 2 hours and 5 minutes", 266700, None),
        ("Try again later", None, None),
        ("resets 25pm", None, None),
        ("try again at 13:75", None, None),
        ("resets Feb 31", None, None),
        ("resets Jan 1, 1999", None, None),
        ("resets in 99999999999 hours", None, None),
        ("no time in here", None, None),
    ],
)
def test_the_end_of_a_limit_in_texts(text: str, after: float | None, at: datetime | None) -> None:
    seconds, moment = retry_in(text, NOW)

    assert seconds == (pytest.approx(after) if after is not None else None)
    assert moment == at


def test_a_time_without_a_zone_is_in_the_zone_of_now() -> None:
    here = datetime(2026, 11, 21, 14, 0, tzinfo=timezone(timedelta(hours=2)))

    assert moment_in("3:05 PM", here) == datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
    assert moment_in("3:05 PM (UTC)", here) == datetime(2026, 11, 21, 15, 5, tzinfo=UTC)
    assert moment_in("Nov 22nd, 2026 1:00 AM", here) == datetime(2026, 11, 21, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize(
    "first", [datetime(2026, 12, 31, 12, 0, 50, tzinfo=UTC), datetime(2026, 11, 1, 0, 0, 50, tzinfo=UTC)]
)
def test_a_time_of_day_is_the_next_one_at_any_time_of_any_day(first: datetime, zone: str) -> None:
    """Also for what was over just before midnight, and in the hour that a clock put back has twice."""
    for minutes in range(0, 1_440, 7):
        now = (first + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone))
        for after in (timedelta(seconds=-110), timedelta(minutes=20), timedelta(hours=5)):
            resets = (now.astimezone(UTC) + after).replace(second=0)
            local = resets.astimezone(now.tzinfo)
            twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
            if not twice or local.utcoffset() == now.utcoffset():  # else the text may mean either hour
                assert moment_in(f"{local:%I:%M %p}", now) == resets, now


def test_a_length_of_time_is_read_from_the_beginning_alone() -> None:
    assert seconds_in("1h2m3s") == 3723
    assert seconds_in("in 5 s") is None
    assert seconds_in("5 monkeys") is None
    assert seconds_in("") is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("You\u2019ve hit your usage limit. Upgrade to Pro or try again at 3:05 PM.", True),
        ("codex failed: You've hit your usage limit. Visit a page or try again at 3:05 PM.", True),
        ("You've hit your usage limit for gpt-5. Switch to another model now.", False),
        ("exceeded retry limit, last status: 429 Too Many Requests", False),
    ],
)
def test_the_limit_of_an_account_is_told_from_that_of_a_model(text: str, whole: bool) -> None:
    found = from_text(text, NOW)

    assert found is not None
    assert (found.kind, found.whole) == (K.RATE_LIMIT, whole)
