"""What is set right without a person, as the audit trail has it, and the sentence that says so."""

from collections.abc import Mapping
from typing import Any

SENTENCES: Mapping[str, str] = {
    "health.remedied": "{action} of {subject}, because of {anomaly}: {message}",
    "health.remedy_failed": "{action} of {subject}, because of {anomaly}, failed: {message}",
    "worker.recovery": "{trigger}: {reason}",
    "worker.alone": "{worker} works alone: {reason}",
    "review.lost": "review {review} was lost: {why}",
    "task.failed_attempt": "an attempt failed: {error}",
    "task.returned": "it came back: {reason}",
    "task.parked": "it waits with its session: {reason}",
    "task.rerouted": "another provider takes it: {reason}",
    "lease.expired": "its worker was lost",
    "merge.parked": "it could not land: {reason}",
    "provider.opened": "{provider} {tier} is left alone ({kind}): {reason}",
    "provider.recovered": "{provider} {tier} works again after {seconds} s",
    "workspace.rolled_back": "{files_changed} files went back to checkpoint {to}: {reason}",
    "workspace.rollback_failed": "files could not go back: {reason}",
    "message.escalated": "{message} to {to} was not read in time: people hear of it",
}
"""By the kind of the event."""
KINDS = tuple(SENTENCES)


def sentence(kind: str, data: Mapping[str, Any]) -> str:
    return SENTENCES[kind].format_map(Gaps(data))


class Gaps(dict[str, Any]):
    """What an event does not say."""

    def __missing__(self, key: str) -> str:
        return "?"
