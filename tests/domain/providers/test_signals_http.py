"""Answers of servers that fail, with every way to tell when to come back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.providers.signals.sentences import from_http

pytestmark = pytest.mark.requirement("PROV-4")

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
K = FailureKind


def anthropic(kind: str, message: str = "m") -> str:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}})


def openai(code: str, message: str = "m", **more: Any) -> str:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code, **more}})


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> str:
    return json.dumps({"error": {"code": code, "message": message, "status": status, "details": list(details)}})


PLAN = "You exceeded your current quota, please check your plan and billing details."
PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerDayPerProject"}],
}
NO_ROOM = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "MODEL_CAPACITY_EXHAUSTED"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46.5s"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, anthropic("rate_limit_error"), K.RATE_LIMIT),
        (529, anthropic("overloaded_error", "Overloaded"), K.CAPACITY),
        (503, anthropic("overloaded_error", "Overloaded"), K.CAPACITY),
        (500, anthropic("api_error", "Internal server error"), K.OUTAGE),
        (401, anthropic("authentication_error", "invalid x-api-key"), K.AUTH),
        (403, anthropic("permission_error"), K.AUTH),
        (402, anthropic("billing_error"), K.QUOTA),
        (400, anthropic("invalid_request_error", "Your credit balance is too low to access it."), K.QUOTA),
        (400, anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT),
        (413, anthropic("request_too_large", "Request exceeds the maximum allowed number of bytes"), K.CONTEXT),
        (400, anthropic("invalid_request_error", "messages: at least one message is required"), None),
        (404, anthropic("not_found_error", "model: big"), K.OUTAGE),
        (404, anthropic("not_found_error", "no such file"), None),
        (429, openai("rate_limit_exceeded", "Rate limit reached for m"), K.RATE_LIMIT),
        (429, openai("insufficient_quota", PLAN), K.QUOTA),
        (429, openai("usage_limit_reached"), K.RATE_LIMIT),
        (401, openai("invalid_api_key"), K.AUTH),
        (400, openai("context_length_exceeded"), K.CONTEXT),
        (400, openai("content_policy_violation", "rejected by the safety system"), K.REFUSAL),
        (503, openai("server_is_overloaded"), K.CAPACITY),
        (500, openai("server_error"), K.OUTAGE),
        (429, google(429, "RESOURCE_EXHAUSTED", PLAN, WAIT), K.RATE_LIMIT),
        (429, "[" + google(429, "RESOURCE_EXHAUSTED", PLAN, PER_DAY, WAIT) + "]", K.QUOTA),
        (429, google(429, "RESOURCE_EXHAUSTED", "No capacity", NO_ROOM), K.CAPACITY),
        (503, google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), K.CAPACITY),
        (503, google(503, "UNAVAILABLE", "The service is currently unavailable."), K.OUTAGE),
        (400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), K.AUTH),
        (403, google(403, "PERMISSION_DENIED", "Permission denied"), K.AUTH),
        (404, '{"error":"model \'big\' not found"}', K.OUTAGE),
        (503, '{"error":"server busy, please try again.  maximum pending requests exceeded"}', K.CAPACITY),
        (500, '{"error":"llama runner process has terminated"}', K.OUTAGE),
        (400, '{"error":"does not support tools"}', None),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", K.OUTAGE),
        (504, "", K.OUTAGE),
        (408, "", K.OUTAGE),
        (429, "Too Many Requests", K.RATE_LIMIT),
        (200, anthropic("overloaded_error"), None),
    ],
)
def test_an_answer_is_told_by_its_status_and_the_names_in_its_body(
    status: int, body: str, kind: FailureKind | None
) -> None:
    signal = from_http(status, body, NOW)

    assert (signal and signal.kind) is kind


def limited(body: str) -> Signal:
    signal = from_http(429, body, NOW)
    assert signal is not None
    return signal


def test_how_long_to_wait_and_when_it_resets() -> None:
    later = NOW + timedelta(hours=5)

    assert limited(google(429, "RESOURCE_EXHAUSTED", PLAN, WAIT)).retry_after == 46.5
    assert limited(openai("rate_limit_exceeded", "Please try again in 6m0s.")).retry_after == 360
    assert limited(openai("usage_limit_reached", resets_in_seconds=7200)).retry_after == 7200
    assert limited(openai("usage_limit_reached", resets_in_seconds=-1)).retry_after is None
    assert limited(openai("usage_limit_reached", resets_at=int(later.timestamp()))).resets_at == later
    assert limited(openai("usage_limit_reached", resets_at=later.isoformat())).resets_at == later
    assert limited(openai("usage_limit_reached", resets_at=9_999_999_999)).resets_at is None, "more than a year ahead"


def test_a_failure_that_no_waiting_heals_has_no_time() -> None:
    signal = from_http(401, anthropic("authentication_error", "try again in 5s"), NOW)

    assert signal is not None
    assert (signal.retry_after, signal.resets_at) == (None, None)


@given(
    status=st.integers(100, 999),
    body=st.text()
    | st.recursive(
        st.none() | st.text(max_size=9) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "details", "code", "retryDelay", "violations", "resets_at"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    ).map(json.dumps),
)
def test_no_answer_does_any_harm(status: int, body: str) -> None:
    signal = from_http(status, body, NOW)

    assert (signal is None) or (status >= 400 and len(signal.message) <= 300)


def test_a_body_that_nests_deeply_is_read_as_text() -> None:
    signal = from_http(503, "[" * 2_000_000, NOW)

    assert signal is not None
    assert signal.kind is FailureKind.OUTAGE
