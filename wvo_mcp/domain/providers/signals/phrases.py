"""The sentences by which programs and servers say why they failed.

A sentence of an error event is a provider's own, so that any of `_SENTENCES` classifies it. In free text (a plain line, the
error that an agent gives for a task) only those count that nobody else writes, and only where a line begins with them: a
task about rate limits quotes such sentences all the time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from wvo_mcp.domain.providers.signals.patterns import Pattern
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal, plain, signal
from wvo_mcp.domain.providers.signals.times import retry_in

LONGEST_LINE = 4_000
"""Characters of a line that are looked at; sentences of errors stand at its beginning."""
_MOST_LINES = 400
"""Of a free text, from its beginning and from its end."""
_LONGEST_TEXT = 400_000
_BEGINNING = 1_000
"""Characters of a line of free text in which it must be decided."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    """`mark`: what is looked for first, in small letters. `more`: a pattern that must be found from its beginning on, if any.

    `strict`: nothing but a program of a provider prints this.
    """

    kind: FailureKind
    mark: str
    more: Pattern | None = None
    strict: bool = False


def _sentences(kind: FailureKind, *marks: str | tuple[str, str], strict: bool = False) -> Iterator[_Sentence]:
    for mark in marks:
        if isinstance(mark, str):
            yield _Sentence(kind, mark, None, strict)
        else:
            yield _Sentence(kind, mark[0], Pattern(mark[1]), strict)


_K = FailureKind
_PHRASE = (
    r"(?:too many requests|internal server error|bad gateway|service unavailable|gateway timeout|<unknown status code>)"
    r"(?:$|, request id: )"
)
"""What stands behind a status where a program ends its sentence with it."""
_RISK = r"(?:cyber|bio|chemical|safety|policy|usage)"
_SENTENCES: tuple[_Sentence, ...] = (
    # A model without room is told apart from an account without quota first: gemini throws one error for both.
    *_sentences(
        _K.CAPACITY,
        "selected model is at capacity. please try a different model",
        ("you have exhausted your capacity on this model", r"you have exhausted your capacity on this model(?:\.|$)"),
        ("no capacity available for model", r"no capacity available for model [\w./:-]{1,100} on the server"),
        ("api error: 529", r"api error: 529(?:$| overloaded| \{)"),
        ("repeated 529", r"repeated 529 overloaded errors"),
        strict=True,
    ),
    *_sentences(
        _K.PERMISSION,
        "not inside a trusted directory",
        ("repository check failed", r"repository check failed\b"),
        ("path must be within", r"path must be within [^\n]{0,100}?workspace director"),
        ("path not in workspace", r"path not in workspace\b[^\n]{0,400}?(?:resolves outside|workspace director)"),
        ("denied by policy", r"denied by policy\b"),
        (
            "gemini cli is not running in a trusted",
            r"gemini cli is not running in a trusted (?:directory|folder|workspace)",
        ),
        "--dangerously-skip-permissions cannot be used with root",
        strict=True,
    ),
    *_sentences(_K.PERMISSION, "access blocked", "not running in a trusted"),
    *_sentences(
        _K.CONTEXT,
        "codex ran out of room in the model's context window",
        ("prompt is too long", r"prompt is too long(?: ·|: \d)"),
        ("the input token count", r"the input token count \(?\d{1,12}\)? ?exceeds the maximum"),
        strict=True,
    ),
    *_sentences(
        _K.CONTEXT,
        "context_length_exceeded",
        "prompt is too long",
        "exceeds the context window",
        "exceeds the available context size",
        "maximum context length",
        "exceed context limit",
        "input length and `max_tokens` exceed",
        "request_too_large",
        ("request exceeds the maximum", r"request exceeds the maximum (?:allowed )?(?:number of bytes|size)"),
    ),
    # What the one says of a minute and the other of an empty account begins alike.
    *_sentences(_K.RATE_LIMIT, ("you exceeded your current quota", r"[^\n]*?please retry in \d"), strict=True),
    *_sentences(
        _K.QUOTA,
        "terminalquotaerror: ",
        "you have exhausted your daily quota on this model",
        ("quota exceeded. check your plan", r"quota exceeded\. check your plan and billing"),
        ("you're out of credits", r"you're out of credits\.(?: your workspace| add credits to)"),
        ("your workspace is out of credits", r"your workspace is out of credits(?:\.|$)"),
        "you're out of usage credits",
        "your organization is out of usage credits",
        ("credit balance is too low", r"credit balance is too low(?:$| ·)"),
        "your credit balance is too low to access the anthropic api",
        ("you exceeded your current quota, please check", r"you exceeded your current quota, please check your plan"),
        ("you've hit your", r"you've hit your (?:[\w.-]{1,30} ){0,4}(?:limit|budget)(?: ·| - |\. it resets| \u2219)"),
        (
            "you've hit your",
            r"you've hit your (?:[\w.-]{1,30} ){0,3}(?:monthly|weekly|session|spend|opus|sonnet|5-hour) "
            r"(?:[\w.-]{1,30} ){0,2}(?:limit|budget|cap)\b(?:$|\.)",
        ),
        ("claude ai usage limit reached", r"claude ai usage limit reached(?:\||\.$|\. your limit| ·|$)"),
        ("hit your spend cap", r"you hit your spend cap"),
        strict=True,
    ),
    *_sentences(
        _K.QUOTA,
        ("hit your", r"hit your (?!usage limit)[^\n]{0,60}?limit"),
        ("limit · resets", r"limit · resets"),
        ("limit - resets", r"limit - resets"),
        "quota exceeded",
        "terminalquotaerror",
        "quota_exhausted",
        "credit balance is too low",
        "out of credits",
        "insufficient_quota",
        "insufficient credits",
        "insufficient balance",
        "insufficient_g1_credits",
        "billing_error",
        "billing_hard_limit_reached",
        "spend_limit_exceeded",
        ("perday", r"per_?day|perday"),
    ),
    *_sentences(
        _K.RATE_LIMIT,
        "retryablequotaerror: ",
        (
            "you've hit your usage limit",
            r"you've hit your usage limit(?: for [\w.-]{1,40})?\. (?:try|visit|upgrade|switch|to get more|contact|ask|your)",
        ),
        ("api error: request rejected (429)", r"api error: request rejected \(429\)(?:$| ·)"),
        ("exceeded retry limit, last status: 429", rf"exceeded retry limit, last status: 429 {_PHRASE}"),
        (
            "this request would exceed your",
            r"this request would exceed (?:your|the) (?:account|organization)'s rate limit",
        ),
        strict=True,
    ),
    *_sentences(
        _K.RATE_LIMIT,
        "retryablequotaerror",
        "usage_limit_reached",
        "usage limit",
        "rate_limit",
        "rate limit",
        "rate-limit",
        "resource_exhausted",
        "resource has been exhausted",
        "exceeded your current quota",
        "too many requests",
    ),
    *_sentences(
        _K.AUTH,
        ("invalid api key ·", r"invalid api key · (?:please run /login|fix external)"),
        ("not logged in ·", r"not logged in · (?:please )?run /login"),
        ("please run /login", r"please run /login(?:$|\.$| ·| to (?:sign|log))"),
        ("oauth token", r"oauth token (?:has been |has )?(?:revoked|expired)(?: · |\. please obtain a new token)"),
        (
            "your access token could not be refreshed",
            r"your access token could not be refreshed(?:\. please log|[^\n]*? because you(?:r refresh token| have))",
        ),
        (
            "unexpected status 401",
            r"unexpected status 401 unauthorized: [^\n]*?, url: [^\s]{1,300}/(?:responses|chat/completions)\b",
        ),
        ("api error: 401", r"api error: 401 (?:authentication_error|\{\"type\":\"error\"|[^\n]*?please run /login$)"),
        ("failed to authenticate. api error", r"failed to authenticate\. api error: \d"),
        ("your authentication token has been invalidated", r"your authentication token has been invalidated\. please"),
        "fatalauthenticationerror: ",
        ("please set an auth method in your", r"please set an auth method in your [^\n]{0,400}?settings\.json"),
        ("when using gemini api, you must", r"when using gemini api, you must specify the gemini_api_key"),
        strict=True,
    ),
    *_sentences(
        _K.AUTH,
        ("oauth token", r"oauth token (?:has been |is |has )?(?:revoked|expired)"),
        "fatalauthenticationerror",
        "authentication_failed",
        "authentication_error",
        "oauth_org_not_allowed",
        "account_on_hold",
        "verification_required",
        "cloud_credential_error",
        "invalid_api_key",
        "incorrect api key",
        "api key not valid",
        "invalid api key",
        "api_key_invalid",
        "api key not found",
        "missing environment variable",
        "must specify the gemini_api_key",
        "unauthenticated",
        "permission_denied",
        "permission_error",
        "not logged in",
        "unauthorized",
        "forbidden",
        "failed to authenticate",
        "refresh token",
        "validationrequirederror",
    ),
    *_sentences(
        _K.REFUSAL,
        ("api error: claude code is unable to respond to this request", r".{0,80}usage policy"),
        ("this request has been flagged for possible", rf"this request has been flagged for possible {_RISK}"),
        ("this content was flagged for possible", rf"this content was flagged for possible {_RISK}"),
        (
            "this request was blocked due to",
            r"this request was blocked due to a (?:usage|cyber|safety)[\w ]{0,40} policy violation",
        ),
        ("invalid prompt: we've limited access", r"invalid prompt: we've limited access to this content for safety"),
        strict=True,
    ),
    *_sentences(
        _K.REFUSAL,
        "invalid_prompt",
        "content_policy",
        "content_filter",
        "usage policy",
        "flagged for possible",
        "prohibited_content",
        "blocked by safety",
        "blocklist",
        "response stopped due to safety",
        "cyber_policy",
    ),
    *_sentences(
        _K.CAPACITY,
        "model_capacity_exhausted",
        "model_capacity_exceeded",
        "server_is_overloaded",
        "slow_down",
        "overloaded",
        "model is overloaded",
        "at capacity",
        "server busy",
        "exhausted your capacity",
        "capacity exceeded",
    ),
    *_sentences(
        _K.OUTAGE,
        ("stream disconnected before completion", r"stream disconnected before completion: ."),
        ("api error: 5", r"api error: 5\d\d (?:\{\"type\":\"error\"|[^\n]*?this is a server-side issue)"),
        ("unexpected status 5", r"unexpected status 5\d\d [^\n]*?, url: [^\s]{1,300}/(?:responses|chat/completions)\b"),
        ("exceeded retry limit, last status: 5", rf"exceeded retry limit, last status: 5\d\d {_PHRASE}"),
        "api error: connection to the api was lost (",
        "api error: unable to connect to api (",
        "request timed out. if the api is slow to answer, or a proxy",
        "we're currently experiencing high demand, which may cause temporary errors",
        strict=True,
    ),
    *_sentences(
        _K.OUTAGE,
        "internal server error",
        "internal_server_error",
        "internal error",
        "server_error",
        "api_error",
        "bad gateway",
        "service unavailable",
        "gateway timeout",
        "unavailable",
        "timed out",
        "timeout",
        "connection",
        "econnrefused",
        "econnreset",
        "enotfound",
        "eai_again",
        "etimedout",
        "fetch failed",
        "socket hang up",
        "network error",
        "error sending request",
        "stream ended",
        "stream closed",
        "stream error",
        "incomplete json segment",
        "model_not_found",
        "modelnotfounderror",
        "terminated",
        ("model", r"models?\b[^\n]{0,120}?(?:not found|not exist)"),
    ),
)
_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00a0": " ", "\u202f": " ", "\u2013": "-", "\u2014": "-"})
_PREFIX = Pattern(
    r"(?:[^\w\n]{1,8}|(?:claude(?: code)?|codex|gemini(?: cli)?|ollama|provider|error|fatal|warning|api error)"
    r"(?: (?:failed|stopped|exited|ended|said|answered|error|with|exec|code|status|\d{1,3})){0,4} ?[:>\])]+ ?)"
)
"""What may stand before a strict sentence: names of programs and levels of logs."""
_MOST_PREFIXES = 6
_QUOTING = ("'", '"', "`", "+", "-", "*", "/", "#", "|", ">", "<")
"""How a line begins that shows such a sentence: in a difference, a list, a comment, a table, or between quotes."""


def small(text: str) -> str:
    """In small letters, with plain quotes, on one line, and no longer than sentences of errors are."""
    return plain(text[:LONGEST_LINE]).lower().translate(_QUOTES)


def kind_of(message: str) -> FailureKind | None:
    """Of what a provider's own error says; for free text see `classified_line`."""
    text = small(message)
    for sentence in _SENTENCES:
        at = text.find(sentence.mark)
        if at >= 0 and (sentence.more is None or sentence.more.search(text, at)):
            return sentence.kind
    return None


_STRICT = tuple(sentence for sentence in _SENTENCES if sentence.strict)
_ANY_STRICT = Pattern("|".join(sorted({re.escape(sentence.mark) for sentence in _STRICT})))


def _begins(line: str) -> FailureKind | None:
    """The kind of a line of small letters that begins with a strict sentence, maybe behind a program's name."""
    at = 0
    if line.lstrip().startswith(_QUOTING) and not line.lstrip().startswith("--dangerously"):
        return None
    for _ in range(_MOST_PREFIXES):
        if _ANY_STRICT.match(line, at):
            for sentence in _STRICT:
                if line.startswith(sentence.mark, at) and (sentence.more is None or sentence.more.match(line, at)):
                    return sentence.kind
        if (prefix := _PREFIX.match(line, at)) is None:
            return None
        at = prefix.end()
    return None


def classified_line(line: str, now: datetime, *, model: str | None = None) -> Signal | None:
    """Of one line of free text; strict."""
    kind = _begins(small(line[:_BEGINNING]))
    return None if kind is None else told(kind, line, now, model=model)


def from_text(text: str, now: datetime) -> Signal | None:
    """As the package gives it."""
    if len(text) > 2 * _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "\n" + text[-_LONGEST_TEXT:]
    lines = text.splitlines()
    if len(lines) > 2 * _MOST_LINES:
        lines = lines[:_MOST_LINES] + lines[-_MOST_LINES:]
    return next((found for line in lines if (found := classified_line(line, now))), None)


_OF_ACCOUNT = Pattern(r"you've hit your usage limit(?! for )")
"""Codex; with `for` behind it stands the model that alone is meant."""


def told(kind: FailureKind, message: str, now: datetime, *, model: str | None = None) -> Signal:
    """A signal with the wait that its message names, where waiting helps."""
    after, resets = (None, None)
    line = small(message)
    if kind in (_K.RATE_LIMIT, _K.QUOTA, _K.CAPACITY, _K.OUTAGE):
        after, resets = retry_in(line, now)
    found = signal(kind, message, retry_after=after, resets_at=resets, model=model)
    return replace(found, whole=True) if kind is _K.RATE_LIMIT and _OF_ACCOUNT.search(line) else found
