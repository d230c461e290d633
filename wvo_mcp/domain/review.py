"""What somebody who did not write it says of a piece of work, and the four rules that follow (contract, section 12)."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, Field, field_validator

from wvo_mcp.domain.answers import answer_of
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.text import storable

ASKED_WORDS, MOST_WORDS = 200, 300
"""So many are asked for in a summary, and so many taken."""
DEADLINE_SECONDS = 900
MOST_TRIES = 3
"""So often a review is asked for before it is lost."""
KEPT = timedelta(minutes=10)
"""So long work with concerns is kept for its author; then it is reviewed once more as it is."""
SILENCE = timedelta(minutes=15)
"""So long work goes on before somebody looks at it."""
_MOST_ISSUES = 20
_TEXT = 2_000


class Verdict(StrEnum):
    APPROVED = "approved"
    CONCERNS = "concerns"
    BLOCKER = "blocker"


class ReviewState(StrEnum):
    ASKED = "asked"
    RUNNING = "running"
    ANSWERED = "answered"
    LOST = "lost"
    """Nobody answered in time, three times; or its work is no longer there to be reviewed."""


class ReviewDecision(StrEnum):
    CONTINUE = "continue"
    WARN = "warn"
    PAUSE = "pause"
    STOP = "stop"


class ReviewTrigger(StrEnum):
    MILESTONE = "milestone"
    BLOCKER = "blocker"
    REQUEST = "request"
    HUMAN = "human"
    SILENCE = "silence"


OPEN = frozenset({ReviewState.ASKED, ReviewState.RUNNING})


class Issue(BaseModel, frozen=True):
    path: str | None = Field(default=None, description="File.")
    line: int | None = Field(default=None, description="Line of the file.")
    problem: str = Field(description="What is wrong.")
    suggestion: str | None = Field(default=None, description="How to mend it.")

    @field_validator("path", "problem", "suggestion")
    @classmethod
    def _bounded(cls, text: str | None) -> str | None:
        return None if text is None else storable(text)[:_TEXT]

    @property
    def said(self) -> str:
        where = "" if self.path is None else f"{self.path}{'' if self.line is None else f':{self.line}'}: "
        return f"{where}{self.problem}" + ("" if not self.suggestion else f" ({self.suggestion})")


class ReviewAnswer(BaseModel, frozen=True):
    """What a reviewer answers."""

    verdict: Verdict
    summary: str
    issues: tuple[Issue, ...] = Field(default=(), max_length=_MOST_ISSUES)

    @field_validator("summary")
    @classmethod
    def _short(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be blank")
        if (words := len(text.split())) > MOST_WORDS:
            raise ValueError(f"has {words} words; at most {ASKED_WORDS} are asked for, and {MOST_WORDS} are taken")
        return storable(text)[: _TEXT * 2]


class Review(BaseModel, frozen=True, defer_build=True):
    """One reviewer's part of a round. `provider`: who is to do it, None: whoever takes it; `candidates`: those it may be asked
    of, best first. `holds`: the work goes on only when it is decided. `tries` counts the times that it was lost;
    `lease_token` is what the answer must carry, until `deadline`."""

    review_id: str
    seq: int
    task_id: str
    round: int
    entry_id: str | None
    commit_sha: str
    base_sha: str | None
    holds: bool
    author: str
    author_session: str | None
    author_provider: str | None
    provider: str | None
    candidates: tuple[str, ...]
    reviewer: str | None
    reviewer_session: str | None
    trigger: ReviewTrigger
    question: str | None
    state: ReviewState
    verdict: Verdict | None
    summary: str | None
    issues: tuple[Issue, ...]
    decision: ReviewDecision | None
    explanation: str | None
    tries: int
    lease_token: int
    deadline: Instant | None
    artefact: str | None
    asked_by: str
    asked_at: Instant
    answered_at: Instant | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def by(self) -> str:
        """Who reviews it: one agent may lend its name to programs of several providers."""
        return f"{self.reviewer} ({self.provider})" if self.provider else str(self.reviewer)

    def is_authors(self, agent_id: str, session_id: str) -> bool:
        """Did this agent, one of its subagents, the agent that it is a subagent of, or this session write what is reviewed?"""
        return related(agent_id, self.author) or session_id == self.author_session


def related(one: str, other: str) -> bool:
    """Are they the same agent, or is one a subagent of the other?"""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


class Ruled(NamedTuple):
    decision: ReviewDecision
    explanation: str


def rule(verdicts: Mapping[str, Verdict]) -> Ruled:
    """What follows from the latest verdict of each reviewer of one commit; there is at least one."""
    by = {verdict: sorted(who for who, said in verdicts.items() if said is verdict) for verdict in Verdict}
    blockers, concerned = by[Verdict.BLOCKER], by[Verdict.CONCERNS]
    if blockers:
        return Ruled(ReviewDecision.STOP, f"Stop: {_names(blockers)} found a blocker.")
    if len(concerned) > 1:
        return Ruled(ReviewDecision.PAUSE, f"Pause: {_names(concerned)} have concerns, so a person decides.")
    if concerned:
        return Ruled(ReviewDecision.WARN, f"Warn: {concerned[0]} has concerns.")
    return Ruled(ReviewDecision.CONTINUE, f"Continue: {_names(by[Verdict.APPROVED])} approved it.")


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def parse(text: str) -> ReviewAnswer | str:
    """As `answer_of` gives it."""
    return answer_of(text, ReviewAnswer)
