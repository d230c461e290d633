"""Signals and usage that cannot be had from the real programs without an account, and input that means harm."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.timing import least_seconds
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import read_output
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Usage

pytestmark = pytest.mark.requirement("PROV-4")

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RESET = NOW + timedelta(hours=3)
CLAUDE, CODEX, GEMINI = ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI


def read(kind: ProviderKind, *lines: dict[str, Any] | str, exit_code: int | None = 1) -> Reading:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return read_output(kind, texts, NOW, exit_code=exit_code)


def rate_limit(status: str, **more: Any) -> dict[str, Any]:
    info = {"status": status, "resetsAt": int(RESET.timestamp()), "rateLimitType": "five_hour", **more}
    return {"type": "rate_limit_event", "rate_limit_info": info}


def result(**more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": "Done.", **more}


def failed(text: str, **more: Any) -> list[dict[str, Any]]:
    """What claude prints when a request failed; `error` and `api_error_status` in `more`."""
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}
    return [
        {"type": "assistant", "message": message, "is_api_error_message": True, **more},
        result(is_error=True, result=text, api_error_status=more.get("api_error_status"), terminal_reason="api_error"),
    ]


def test_a_rejected_limit_of_claude_has_its_reset_and_a_warning_is_none() -> None:
    text = "You've hit your session limit · resets 3pm (UTC)"
    failure = failed(text, error="rate_limit", api_error_status=429)

    rejected = read(CLAUDE, {"type": "system", "subtype": "init", "model": "big"}, rate_limit("rejected"), *failure)
    warned = read(CLAUDE, rate_limit("allowed_warning", utilization=0.9), result(), exit_code=0)
    paid = read(CLAUDE, rate_limit("rejected", isUsingOverage=True), result(), exit_code=0)
    without_result = read(CLAUDE, rate_limit("rejected"), exit_code=None)

    assert rejected.signal is not None
    assert rejected.signal.resets_at == RESET
    assert rejected.signal.model == "big"
    assert rejected.signal.kind is FailureKind.RATE_LIMIT
    assert (warned.signal, warned.finished) == (None, True)
    assert (paid.signal, paid.finished) == (None, True)
    assert without_result.signal is not None
    assert (without_result.signal.kind, without_result.signal.resets_at) == (FailureKind.RATE_LIMIT, RESET)


@pytest.mark.parametrize(
    ("text", "kind", "resets_at"),
    [
        (
            "You've hit your weekly limit · resets Nov 24, 5pm (UTC)",
            FailureKind.QUOTA,
            datetime(2026, 11, 24, 17, tzinfo=UTC),
        ),
        ("You've hit your session limit · resets 3pm", FailureKind.QUOTA, RESET),
        ("Opus limit - resets 3:00 PM", FailureKind.QUOTA, RESET),
        (f"Claude AI usage limit reached|{int(RESET.timestamp())}", FailureKind.QUOTA, RESET),
        ("You're out of usage credits. See Usage in Settings", FailureKind.QUOTA, None),
        ("API Error: Repeated 529 Overloaded errors", FailureKind.CAPACITY, None),
        ("OAuth token has been revoked · Please run /login", FailureKind.AUTH, None),
        ("Access blocked: the folder is not allowed", FailureKind.PERMISSION, None),
    ],
)
def test_sentences_of_claude_for_subscribers(text: str, kind: FailureKind, resets_at: datetime | None) -> None:
    signal = read(CLAUDE, *failed(text, error="unknown")).signal

    assert signal is not None
    assert (signal.kind, signal.resets_at) == (kind, resets_at)


def test_claude_that_is_stopped_while_it_retries_failed_for_what_it_retried() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 7, "retry_delay_ms": 31_000, "error": "rate_limit"}

    stopped = read(CLAUDE, {**retry, "error_status": 429}, exit_code=-15)
    recovered = read(CLAUDE, {**retry, "error_status": 429}, result(), exit_code=0)
    moved_on = read(CLAUDE, {**retry, "error_status": 429}, {"type": "assistant", "message": {}}, exit_code=-15)

    assert stopped.signal is not None
    assert (stopped.signal.kind, stopped.signal.retry_after) == (FailureKind.RATE_LIMIT, 31.0)
    assert (recovered.signal, recovered.finished) == (None, True)
    assert moved_on.signal is None


@pytest.mark.parametrize(
    ("kind", "asking", "busy"),
    [
        (CLAUDE, {"type": "system", "subtype": "init"}, {"type": "assistant", "message": {}}),
        (CODEX, {"type": "turn.started"}, {"type": "item.started", "item": {}}),
        (GEMINI, {"type": "init", "model": "m"}, {"type": "tool_use", "tool_name": "read_file"}),
    ],
)
def test_a_program_is_silent_for_its_provider_only_while_it_waits_for_it(
    kind: ProviderKind, asking: dict[str, Any], busy: dict[str, Any]
) -> None:
    silent = read(kind, asking, exit_code=124).signal

    assert silent is not None
    assert silent.kind is FailureKind.OUTAGE
    assert read(kind, asking, busy, exit_code=124).signal is None, "its tool was stopped"
    assert read(kind, asking, exit_code=-15).signal is None, "a person may have stopped it"


def test_what_ends_a_run_without_its_provider_is_no_signal() -> None:
    turns = result(
        subtype="error_max_turns", is_error=True, errors=["Reached maximum number of turns (1)"], result=None
    )
    quoted = result(is_error=True, result="The test expects: API Error: 529 Overloaded")

    assert read(CLAUDE, turns) == Reading()
    assert read(CLAUDE, quoted) == Reading()
    assert read(CLAUDE, "Traceback: Segmentation fault", exit_code=-11) == Reading()
    assert (
        read(GEMINI, {"type": "result", "status": "error", "error": {"message": "Reached max session turns"}}).signal
        is None
    )


def test_what_is_over_or_said_by_others_is_no_failure_of_the_run() -> None:
    started, limited = {"type": "turn.started"}, {"type": "turn.failed", "error": {"message": "Quota exceeded."}}
    of_helper = {**failed("API Error: 529 Overloaded", error="overloaded")[0], "parent_tool_use_id": "toolu_1"}
    outside = "Path not in workspace: /etc resolves outside of it"
    by_tool = {"type": "tool_result", "error": {"type": "shell_execute_error", "message": outside}}
    warned = {"type": "error", "severity": "warning", "message": "Quota exceeded. Check your plan and billing."}

    assert read(CODEX, started, limited, exit_code=1).signal is not None
    assert read(CODEX, started, limited, started, exit_code=-15) == Reading()
    assert read(CLAUDE, of_helper, exit_code=-15) == Reading()
    assert read(CLAUDE, rate_limit("rejected", isUsingOverage=True), exit_code=None) == Reading()
    assert read(CLAUDE, '{"API Error: 529 Overloaded', exit_code=1) == Reading()
    assert read(GEMINI, by_tool, {"type": "result", "status": "success"}, exit_code=0) == Reading(finished=True)
    assert read(GEMINI, warned, exit_code=1) == Reading()


def test_what_another_program_printed_is_no_good_end_of_claude() -> None:
    elsewhere = {"type": "result", "status": "error", "error": {"type": "Error", "message": "quota"}, "stats": {}}

    assert read(CLAUDE, elsewhere, exit_code=1) == Reading()


def test_a_wish_of_the_request_is_no_failure_of_the_provider() -> None:
    bad = failed(
        "API Error: 400 messages.1: tool_use ids must be unique", error="invalid_request", api_error_status=400
    )

    assert read(CLAUDE, *bad).signal is None


@pytest.mark.requirement("PROV-3")
def test_claudes_usage_includes_subagents_and_not_the_resumed_sessions_past() -> None:
    def model(read: int, written: int, out: int, cached: int, cost: float) -> dict[str, float]:
        names = ("inputTokens", "cacheCreationInputTokens", "outputTokens", "cacheReadInputTokens", "costUSD")
        return dict(zip(names, (read, written, out, cached, cost), strict=True))

    turn = result(
        usage={"input_tokens": 1, "output_tokens": 1},
        total_cost_usd=99.0,
        modelUsage={"big": model(9999, 0, 9999, 0, 99.0)},
        model_usage_since_last_result={"big": model(10, 20, 30, 40, 0.5), "small": model(1, 2, 3, 4, 0.25)},
    )
    older = result(
        usage={"input_tokens": 1, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 4, "output_tokens": 8},
        total_cost_usd=0.5,
    )

    assert read(CLAUDE, turn, exit_code=0).usage == Usage(33, 33, 44, 0.75, "big")
    assert read(CLAUDE, turn, turn, exit_code=0).usage == Usage(66, 66, 88, 1.5, "big")
    assert read(CLAUDE, older, exit_code=0).usage == Usage(3, 8, 4, 0.5, None)


@pytest.mark.requirement("PROV-3")
def test_codex_usage_is_its_threads_last_total_and_geminis_includes_thoughts() -> None:
    def turn(read: int, cached: int, out: int) -> dict[str, Any]:
        usage = {"input_tokens": read, "cached_input_tokens": cached, "output_tokens": out}
        return {"type": "turn.completed", "usage": usage}

    stats = {"total_tokens": 150, "input_tokens": 100, "output_tokens": 20, "cached": 60, "models": {"m": {}}}

    assert read(CODEX, turn(100, 60, 5), turn(250, 160, 9), '{"type":"turn.comp', exit_code=0).usage == Usage(
        90, 9, 160
    )
    gemini = read(GEMINI, {"type": "result", "status": "success", "stats": stats}, exit_code=0)
    assert gemini.usage == Usage(40, 50, 60, None, "m")


@pytest.mark.requirement("PROV-3")
@pytest.mark.parametrize("absurd", [-5, 10**15, float("nan"), float("inf"), "12", True, None, [1], {"a": 1}])
def test_numbers_that_are_none_are_dropped(absurd: Any) -> None:
    usage = {"input_tokens": absurd, "output_tokens": 5}

    assert read(CLAUDE, result(usage=usage, total_cost_usd=absurd), exit_code=0).usage == Usage(0, 5, 0, None, None)
    assert read(CODEX, {"type": "turn.completed", "usage": usage}, exit_code=0).usage == Usage(0, 5, 0)
    gemini = read(GEMINI, {"type": "result", "status": "success", "stats": usage}, exit_code=0).usage
    assert gemini == Usage(0, 5, 0)


@pytest.mark.requirement("SAFE-3")
def test_a_message_has_no_secret_and_no_more_than_three_hundred_characters() -> None:
    key = "sk-" + "ant-api03-" + "aB3" * 30
    said = read(
        CODEX, {"type": "turn.failed", "error": {"message": f"unexpected status 401: {key} is wrong {'x' * 9000}"}}
    )

    assert said.signal is not None
    assert said.signal.kind is FailureKind.AUTH
    assert key[:20] not in said.signal.message
    assert len(said.signal.message) == 300


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *(
        "type",
        "subtype",
        "error",
        "message",
        "usage",
        "result",
        "is_error",
        "api_error_status",
        "rate_limit_info",
        "stats",
    ),
    *(
        "status",
        "models",
        "model_usage_since_last_result",
        "permission_denials",
        "item",
        "response",
        "severity",
        "resetsAt",
    ),
)
VALUES = st.sampled_from(
    ["result", "system", "assistant", "error", "turn.failed", "turn.completed", "init", "rejected"]
)
EVENTS = st.dictionaries(st.sampled_from(NAMES), JSON | VALUES, max_size=8)


@given(
    kind=st.sampled_from(list(ProviderKind)),
    lines=st.lists(
        EVENTS.map(json.dumps) | st.text(max_size=60) | EVENTS.map(lambda event: json.dumps(event)[:-3]), max_size=12
    ),
    exit_code=st.none() | st.integers(-20, 300),
)
def test_no_line_does_any_harm(kind: ProviderKind, lines: list[str], exit_code: int | None) -> None:
    reading = read_output(kind, lines, NOW, exit_code=exit_code)

    if reading.signal:
        assert len(reading.signal.message) <= 300
        assert reading.signal.retry_after is None or reading.signal.retry_after >= 0
    if reading.usage:
        assert min(reading.usage.tokens_in, reading.usage.tokens_out, reading.usage.tokens_cached) >= 0


HARMFUL = {
    "deep": '{"type":"result","result":' + "[" * 1_000_000 + "}",
    "deep objects": '{"a":' * 500_000 + "}",
    "long": json.dumps({"type": "user", "message": "You've hit your usage limit. " * 350_000}),
    "long and plain": "You've hit your " * 600_000,
    "spaces": " " * 10_000_000,
    "colours": "\x1b[" * 3_000_000,
    "titles": "\x1b]" * 3_000_000,
    "signs": "[:>)] " * 1_600_000,
    "names": "error: " * 1_400_000,
    "zeros": "\x00" * 10_000_000,
    "errors": json.dumps({"type": "turn.failed", "error": {"message": "[API Error: try again in " * 400_000}}),
    "numbers": '{"type":"result","total_cost_usd":' + "9" * 1_000_000 + "}",
    "surrogates": "\udcff\ud800 You've hit" * 100_000,
}


@pytest.mark.parametrize("name", HARMFUL)
@pytest.mark.parametrize("kind", ProviderKind)
def test_a_line_of_ten_megabytes_takes_time_by_its_length_alone(kind: ProviderKind, name: str) -> None:
    line = HARMFUL[name]
    limit = 0.5 + 20 * least_seconds(lambda: json_scan(line))

    assert least_seconds(lambda: read_output(kind, [line, json.dumps(result())], NOW, exit_code=1), limit) < limit


def json_scan(line: str) -> None:
    """The floor: to look for a sign in it, and to parse it at all or copy it."""
    line.find("\x01")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        line.lower()


def test_ten_thousand_lines_take_less_than_a_second() -> None:
    work = {
        "type": "assistant",
        "message": {"model": "m", "content": [{"type": "text", "text": "You've hit it. " * 40}]},
    }
    lines = [json.dumps(work), "2026-11-21 WARN something: You've hit your usage limit"] * 5_000

    assert least_seconds(lambda: read_output(CLAUDE, lines, NOW), 1) < 1
