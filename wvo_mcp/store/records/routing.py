"""Routes, usage, breakers and raised budgets. What a claim needs of them is one statement."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Mode
from wvo_mcp.domain.providers.routing import Chosen
from wvo_mcp.domain.providers.state import RoutingState, Use
from wvo_mcp.domain.redaction import redact
from wvo_mcp.ports.providers import Spent, TaskRoute
from wvo_mcp.store.records.rows import Repository, encoded_all

_STATE = """
SELECT 'minutes' AS what, provider AS name, tier, sum(tokens) AS a, 0 AS b, 0.0 AS cost, '' AS text FROM usage_minutes
WHERE minute >= :minute GROUP BY provider, tier
UNION ALL SELECT 'day', provider, tier, tokens, attempts, cost, '' FROM usage_days WHERE day = :day
UNION ALL SELECT 'reserved', provider, tier, tokens, attempts, 0.0, '' FROM provider_reserved WHERE attempts > 0
UNION ALL SELECT 'breaker', provider, tier, failures, 0, 0.0,
  state || '|' || kind || '|' || coalesce(until, '') || '|' || coalesce(probe_task, '') || '|' || coalesce(probe_until, '')
FROM breakers WHERE state <> 'closed'
UNION ALL SELECT 'raise', scope || '|' || period, name, sum(tokens), 0, 0.0, '' FROM budget_raises WHERE until > :now
GROUP BY scope, period, name
UNION ALL SELECT 'mode', '', '', 0, 0, 0.0, value FROM facts WHERE name = 'routing_mode'
UNION ALL SELECT 'agent', '', '',
  (SELECT coalesce(sum(tokens), 0) FROM usage WHERE agent_id = :agent_id AND at > :hour),
  (SELECT coalesce(sum(tokens), 0) FROM usage WHERE agent_id = :agent_id AND at >= :day),
  0.0, ''
UNION ALL SELECT 'held', '', '', coalesce(sum(reserved), 0), 0, 0.0, '' FROM task_routes
WHERE agent_id = :agent_id AND ended_at IS NULL"""

_STOPPING = ("state", "kind", "until", "probe_task", "probe_until")
"""What the text of a breaker that is not closed has, in this order."""
_BREAKER = "provider, tier, state, kind, failures, until, probe_task, probe_until, opened_at, reason"

_COLUMNS = f"{_BREAKER}, updated_at"
_TRIED = f"""
SELECT {_COLUMNS} FROM breakers WHERE probe_task = :task_id
UNION ALL SELECT {_COLUMNS} FROM breakers WHERE state = 'closed' AND failures > 0
  AND provider = (SELECT provider FROM task_routes WHERE task_id = :task_id)"""

PROBE_SECONDS = 900
"""So long a probe is leased to its task; a probe that is never heard of again must not shut the provider for ever."""


class Routing(Repository):
    """`ports.RoutingRepository`."""

    def _asked(self, agent_id: str) -> dict[str, str]:
        # A minute counts until all of it is an hour old.
        hour = iso(self._now - timedelta(hours=1))
        return {"agent_id": agent_id, "now": self._at, "hour": hour, "minute": hour[:16], "day": self._at[:10]}

    async def prefetch_reads(self, agent_id: str) -> None:
        self._rows.prefetch_statement(_STATE, self._asked(agent_id))

    async def state(self, agent_id: str) -> RoutingState:
        uses: dict[tuple[str, str], dict[str, Any]] = {}
        breakers: dict[tuple[str, str], Breaker] = {}
        raises: dict[tuple[str, str, str], int] = {}
        agent = {"hour": 0, "day": 0, "reserved": 0}
        mode: Mode | None = None
        for row in self._rows.all(_STATE, self._asked(agent_id)):
            key = (row["name"], row["tier"])
            match row["what"]:
                case "minutes":
                    uses.setdefault(key, {})["hour"] = int(row["a"])
                case "day":
                    uses.setdefault(key, {}).update(day=int(row["a"]), attempts=int(row["b"]), cost=row["cost"])
                case "reserved":
                    uses.setdefault(key, {})["reserved"] = int(row["a"])
                case "breaker":
                    kept = dict(zip(_STOPPING, row["text"].split("|"), strict=True))
                    breakers[key] = _breaker({"provider": key[0], "tier": key[1], "failures": int(row["a"]), **kept})
                case "raise":
                    scope, _, period = row["name"].partition("|")
                    raises[scope, row["tier"], period] = int(row["a"])
                case "mode":
                    mode = Mode(json.loads(row["text"]))
                case "agent":
                    agent |= {"hour": int(row["a"]), "day": int(row["b"])}
                case _:
                    agent["reserved"] = int(row["a"])
        return RoutingState(
            self._now, mode, {key: Use(**use) for key, use in uses.items()}, breakers, raises, agent_id, Use(**agent)
        )

    async def route(self, task_id: str) -> TaskRoute | None:
        row = self._rows.one(
            "SELECT task_id, lease_token, agent_id, provider, tier, model, reason, reserved, reported, at, ended_at,"
            " worked FROM task_routes WHERE task_id = ?",
            (task_id,),
        )
        return None if row is None else TaskRoute(**_timed(row, "at", "ended_at"))

    async def used_by_task(self, task_id: str) -> Use:
        row = self._rows.one(
            "SELECT coalesce(sum(CASE WHEN at > :hour THEN tokens ELSE 0 END), 0) AS hour,"
            " coalesce(sum(CASE WHEN at >= :day THEN tokens ELSE 0 END), 0) AS day FROM usage WHERE task_id = :task_id",
            {**self._asked(""), "task_id": task_id},
        )
        return Use() if row is None else Use(hour=int(row["hour"]), day=int(row["day"]))

    async def take(
        self,
        task_id: str,
        lease_token: int,
        agent_id: str,
        chosen: Chosen,
        reason: str,
        *,
        unreported: int,
        worker: tuple[str, str] | None,
    ) -> None:
        route = {
            "lease_token": lease_token,
            "agent_id": agent_id,
            "provider": chosen.provider,
            "tier": chosen.tier.value,
            "model": chosen.model,
            "reason": reason,
            "reserved": chosen.estimate,
            "reported": 0,
            "unreported": unreported,
            "at": self._at,
            "ended_at": None,
        }
        worked, worked_tier = worker or (None, None)
        again = "task_routes.lease_token = excluded.lease_token AND excluded.worked <> excluded.provider"
        self._insert(
            "task_routes",
            {"task_id": task_id, **route, "worked": worked, "worked_tier": worked_tier},
            f"""
            ON CONFLICT (task_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in route)},
              worked = CASE WHEN {again} THEN task_routes.worked ELSE excluded.worked END,
              worked_tier = CASE WHEN {again} THEN task_routes.worked_tier ELSE excluded.worked_tier END
            """,
        )
        self._rows.put("UPDATE breakers SET probe_task = NULL, probe_until = NULL WHERE probe_task = ?", (task_id,))
        for provider, tier in chosen.probes:
            self._rows.put(
                "UPDATE breakers SET state = 'half_open', probe_task = ?, probe_until = ?, updated_at = ?"
                " WHERE provider = ? AND tier = ?",
                (task_id, iso(self._now + timedelta(seconds=PROBE_SECONDS)), self._at, provider, tier),
            )

    async def record(self, spent: Spent) -> None:
        row = {field.name: getattr(spent, field.name) for field in fields(spent)}
        row |= {"at": self._at, "model": redact(spent.model), "tokens": row.pop("counted")}
        self._insert("usage", row)
        if spent.task_id is not None:
            self._rows.put(
                "UPDATE task_routes SET reported = reported + :tokens,"
                " reserved = CASE WHEN reserved > :tokens THEN reserved - :tokens ELSE 0 END,"
                " worked_tier = CASE WHEN worked = :provider THEN worked_tier ELSE :tier END, worked = :provider"
                " WHERE task_id = :task_id AND lease_token = :token AND ended_at IS NULL",
                {
                    "tokens": spent.counted,
                    "task_id": spent.task_id,
                    "token": spent.lease_token,
                    "provider": spent.provider,
                    "tier": spent.tier,
                },
            )

    async def read_until(self, transcript: str) -> int:
        return int(self._rows.value("SELECT max(ends) FROM usage_messages WHERE transcript = ?", (transcript,)) or 0)

    async def count_once(self, transcript: str, messages: Mapping[str, int]) -> set[str]:
        marks = ", ".join("?" * len(messages))
        known = f"SELECT message_id FROM usage_messages WHERE message_id IN ({marks})"
        fresh = messages.keys() - self._rows.column(known, tuple(messages))
        if fresh:
            self._rows.run_many(
                "INSERT INTO usage_messages (message_id, transcript, ends, at) VALUES (?, ?, ?, ?)",
                [(name, transcript, ends, self._at) for name, ends in messages.items() if name in fresh],
            )
        last = max(messages, key=lambda name: messages[name])
        if last not in fresh:  # counted from another file: the next read of this one begins behind it all the same
            self._rows.put(
                "UPDATE usage_messages SET transcript = ?, ends = ? WHERE message_id = ?",
                (transcript, messages[last], last),
            )
        return fresh

    async def breakers(self) -> list[Breaker]:
        rows = self._rows.all(f"SELECT {_COLUMNS} FROM breakers ORDER BY provider, tier")
        return [_breaker(row) for row in rows]

    async def put_breaker(self, breaker: Breaker) -> None:
        row = encoded_all({field.name: getattr(breaker, field.name) for field in fields(breaker)})
        row |= {"reason": redact(breaker.reason), "updated_at": self._at}
        self._upsert("breakers", ("provider", "tier"), row)

    async def prefetch_tried(self, task_id: str) -> None:
        # What a completion writes changes neither of its tables.
        self._rows.prefetch_statement(_TRIED, {"task_id": task_id}, of="breakers")

    async def tried(self, task_id: str) -> list[Breaker]:
        return [_breaker(row) for row in self._rows.all(_TRIED, {"task_id": task_id})]

    async def allow(self, scope: str, name: str, period: str, tokens: int, until: datetime, reason: str) -> None:
        row = {"scope": scope, "name": name, "period": period, "tokens": tokens, "until": iso(until), "at": self._at}
        self._insert("budget_raises", {**row, "by_agent": self._caller.agent_id, "reason": redact(reason)})

    async def allowed(self) -> list[dict[str, Any]]:
        return self._rows.all(
            "SELECT scope, name, period, tokens, until, by_agent, reason, at FROM budget_raises WHERE until > ?"
            " ORDER BY id",
            (self._at,),
        )

    async def minutes(self, scope: str, name: str) -> list[tuple[str, int]]:
        if scope in ("agent", "task"):
            table = (
                f"(SELECT substr(at, 1, 16) AS minute, tokens FROM usage WHERE {scope}_id = :name AND at > :hour) AS u"
            )
        else:
            tier = " AND tier = :tier" if scope == "tier" else ""
            table = f"usage_minutes WHERE minute >= :minute AND provider = :provider{tier}"
        provider, _, tier = name.partition("/")
        rows = self._rows.execute(
            f"SELECT minute, sum(tokens) FROM {table} GROUP BY minute ORDER BY minute",
            {**self._asked(""), "name": name, "provider": provider, "tier": tier},
        )
        return [(minute, int(tokens)) for minute, tokens in rows]

    async def by_agent(self, limit: int) -> list[tuple[str, Use]]:
        asked = self._asked("")  # the hour may have begun before the day
        rows = self._rows.execute(
            "SELECT agent_id, sum(CASE WHEN at >= :day THEN tokens ELSE 0 END) AS day,"
            " sum(CASE WHEN at > :hour THEN tokens ELSE 0 END) AS hour,"
            " sum(CASE WHEN at >= :day THEN cost ELSE 0 END) AS cost,"
            " (SELECT coalesce(sum(reserved), 0) FROM task_routes AS r"
            " WHERE r.agent_id = usage.agent_id AND r.ended_at IS NULL) AS reserved"
            " FROM usage INDEXED BY usage_age WHERE at >= :since GROUP BY agent_id"
            " ORDER BY day DESC, agent_id LIMIT :most",
            {**asked, "since": min(asked["day"], asked["hour"]), "most": limit},
        )
        return [
            (agent_id, Use(hour=int(hour), day=int(day), cost=cost, reserved=int(reserved)))
            for agent_id, day, hour, cost, reserved in rows
        ]

    async def by_hour(self, since: datetime) -> list[tuple[str, str, int, float]]:
        rows = self._rows.execute(
            "SELECT substr(at, 1, 13), provider, sum(tokens), sum(cost) FROM usage INDEXED BY usage_age WHERE at >= ?"
            " GROUP BY 1, 2 ORDER BY 1, 2",
            (iso(since),),
        )
        return [(hour, provider, int(tokens), float(cost)) for hour, provider, tokens, cost in rows]

    async def routed_last(self, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            """
            SELECT r.task_id, r.agent_id, r.provider, r.tier, r.model, r.reason, r.at, r.ended_at, r.worked, r.reported
            FROM (
              SELECT task_id, max(seq) AS seq FROM (
                SELECT task_id, seq FROM events WHERE kind = 'task.claimed' ORDER BY seq DESC LIMIT ?
              ) AS claims GROUP BY task_id
            ) AS latest CROSS JOIN task_routes AS r
            WHERE r.task_id = latest.task_id ORDER BY latest.seq DESC
            """,
            (limit,),
        )

    async def put_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        names = [str(one["provider"]) for one in states]
        unknown = f" WHERE provider NOT IN ({', '.join('?' * len(names))})" if names else ""
        self._rows.put(f"DELETE FROM provider_states{unknown}", tuple(names))
        for one in states:
            row = {**one, "reason": redact(one["reason"]) if one["reason"] else None, "updated_at": self._at}
            self._upsert("provider_states", ("provider",), row)

    async def forget(self, before: datetime) -> None:
        self._rows.put("DELETE FROM usage WHERE at < ?", (iso(before),))
        self._rows.put("DELETE FROM usage_messages WHERE at < ?", (iso(before),))
        self._rows.put("DELETE FROM usage_minutes WHERE minute < ?", (iso(self._now - timedelta(days=2))[:16],))
        self._rows.put("DELETE FROM budget_raises WHERE until < ?", (iso(before),))


def _breaker(row: Mapping[str, Any]) -> Breaker:
    kept = _timed(row, "until", "probe_until", "opened_at", "updated_at")
    kept |= {"state": BreakerState(row["state"]), "probe_task": row["probe_task"] or None}
    return Breaker(**kept)


def _timed(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The row with these of its columns as times; what is missing or empty is none."""
    return {**row, **{name: instant(row[name]) if row.get(name) else None for name in names}}
