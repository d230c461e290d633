"""What a session of Claude Code used, counted into the budgets: each message once, however often its transcript is read."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.providers.catalogue import Catalogue, Provider, ProviderKind
from wvo_mcp.domain.providers.signals.reading import Message, Part
from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.routing.breakers import note
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Providers, Spent

_AT_ONCE = 500
"""Messages in one transaction, so that no claim waits for a long transcript."""


async def count(
    store: Store, caller: Caller, providers: Providers, paths: Sequence[Path], read: Callable[[Path, int], Part]
) -> int:
    """Tokens that were counted now, for the caller's agent. `read` returns what a file has after a number of bytes."""
    await providers.refresh()
    try:
        catalogue = providers.current()
    except InvalidInput:  # what was used is counted all the same
        catalogue = Catalogue(())
    counted = 0
    for path in paths:
        transcript = hashlib.sha256(str(path).encode(errors="replace")).hexdigest()[:32]
        begin = await store.read(caller, lambda tx, name=transcript: tx.routing.read_until(name))
        try:
            messages = iter(read(path, begin).messages.values())
        except OSError:
            continue
        while part := list(islice(messages, _AT_ONCE)):
            counted += await store.write(caller, lambda tx, name=transcript, of=part: _count(tx, catalogue, name, of))
    return counted


async def _count(tx: Transaction, catalogue: Catalogue, transcript: str, messages: list[Message]) -> int:
    fresh = await tx.routing.count_once(transcript, {one.id: one.ends for one in messages})
    models: dict[str, list[Message]] = {}
    for one in messages:
        if one.id in fresh:
            models.setdefault(one.model, []).append(one)
    if not models:
        return 0
    held = await tx.queue.held_by_agent(tx.caller.agent_id)
    attempt = (held[0].id, held[0].lease_token) if len(held) == 1 else (None, None)
    # A transcript does not name the account: the first that is turned on.
    alike = [one for one in catalogue.providers if one.kind is ProviderKind.CLAUDE]
    provider = min(alike, key=lambda one: not one.enabled, default=None)
    total = 0
    for model, used in models.items():
        tokens_in, tokens_out = sum(one.tokens_in for one in used), sum(one.tokens_out for one in used)
        cached = sum(one.tokens_cached for one in used)
        tier, cost = _priced(provider, model, tokens_in, tokens_out, cached)
        counted = catalogue.counted(tokens_in, tokens_out, cached)
        name = "claude" if provider is None else provider.name
        tokens = (counted, tokens_in, tokens_out, cached)
        spent = Spent(tx.caller.agent_id, name, tier, redact(model), *tokens, cost, "output", *attempt)
        await tx.routing.record(spent)
        await note(tx, spent, messages=len(used), **{"from": "transcript"})
        total += counted
    return total


def _priced(provider: Provider | None, model: str, tokens_in: int, tokens_out: int, cached: int) -> tuple[str, float]:
    """(tier, US dollars). The file may name the program's own word for a model: `opus` for `claude-opus-5`."""
    if provider is not None:
        for tier, known in provider.tiers.items():
            if known.name == model or known.name in model.split("-"):
                return tier.value, known.cost.of(tokens_in, tokens_out, cached)
    return "", 0.0
