"""How long checkpoints, validations and noticing take, and how often they fail or are spared: to telemetry, and kept for
`wvo-mcp workspaces`."""

from collections.abc import Mapping
from typing import Any

from wvo_mcp.domain.latencies import Latency, Quantiles, Rate, Share, joined, quantiles, share
from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import SILENT, Store, Tracer, Transaction
from wvo_mcp.ports.checkpoints import Taken
from wvo_mcp.ports.telemetry import Attribute

_FACT = "workspaces.latencies."


class Timing:
    """Of what this process does. `host`: under this name they are kept."""

    def __init__(self, tracer: Tracer = SILENT, host: str = "here") -> None:
        self._tracer = tracer
        self._fact = f"{_FACT}{host}"
        self._new: dict[str, list[Any]] = {}
        """Milliseconds, or [hits, of]."""

    def taken(self, trigger: str, taken: Taken) -> None:
        outcome = {"wvo.checkpoint.trigger": trigger, "wvo.outcome": "made" if taken.fresh else "unchanged"}
        self._add(Latency.CHECKPOINT, taken.took_ms, outcome)
        self._put(Rate.FAILED, [0, 1])
        if (found := taken.validation) is not None:
            self._add(Latency.VALIDATION, found.took_ms)
            if found.judged:
                self._put(Rate.CACHED, [found.cached, found.judged])

    def failed(self, trigger: str, milliseconds: float) -> None:
        """No checkpoint could be made. Only telemetry keeps how long that took."""
        self._put(Rate.FAILED, [1, 1])
        outcome = {"wvo.checkpoint.trigger": trigger, "wvo.outcome": "failed"}
        self._tracer.measured(Latency.CHECKPOINT, milliseconds / 1_000, outcome)

    def noticed(self, milliseconds: float) -> None:
        self._add(Latency.NOTICING, round(milliseconds, 1))

    async def keep(self, store: Store, caller: Caller) -> None:
        """What is new since the last call. Raises the store's typed errors; then it is kept by the next one."""
        if not self._new:
            return
        new = {kind: [*values] for kind, values in self._new.items()}

        async def added(tx: Transaction) -> None:
            await tx.state.put(self._fact, joined(await tx.state.get(self._fact) or {}, new))

        await store.write(caller, added)
        for kind, values in new.items():
            del self._new[kind][: len(values)]
        self._new = {kind: values for kind, values in self._new.items() if values}

    def _add(self, kind: Latency, milliseconds: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        self._put(kind, milliseconds)
        self._tracer.measured(kind, milliseconds / 1_000, attributes)

    def _put(self, kind: Latency | Rate, value: float | list[int]) -> None:
        self._new.setdefault(kind, []).append(value)
        del self._new[kind][:-1_000]  # nobody may ever keep them


async def kept(tx: Transaction) -> tuple[dict[Latency, Quantiles], dict[Rate, Share]]:
    """Of all hosts."""
    values: dict[str, list[Any]] = {}
    for of_host in (await tx.state.named(_FACT)).values():
        for kind, newest in of_host.items():
            values.setdefault(kind, []).extend(newest)
    took = {kind: found for kind in Latency if (found := quantiles(values.get(kind, ()))) is not None}
    return took, {kind: found for kind in Rate if (found := share(values.get(kind, ()))) is not None}
