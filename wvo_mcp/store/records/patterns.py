"""Patterns of errors, and how they are found: an inverted index of our own, the same in both databases."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.likeness import Likeness, rarity
from wvo_mcp.domain.pattern import Category, Found, Pattern, kept_until
from wvo_mcp.domain.signature import Signature
from wvo_mcp.store.records.rows import Numbered, encoded_all
from wvo_mcp.store.sql import parts

_COLUMNS = ", ".join(Pattern.model_fields)
_BY_KEY = f"SELECT {_COLUMNS} FROM error_patterns WHERE signature_key = ?"
_OF_PATTERN = ", ".join(f"p.{name}" for name in Pattern.model_fields)
_RAREST, _OF_EACH, _COMPARED = 8, 200, 30
"""Words that are looked up, patterns by each, and patterns that are compared with what was asked."""
_EVERY = ""
"""The word that counts all patterns."""
_LOOK = " UNION ALL ".join(
    ["SELECT * FROM (SELECT term, pattern FROM pattern_terms WHERE term = ? ORDER BY pattern DESC LIMIT ?) AS t"]
    * _RAREST
)


class Patterns(Numbered):
    """`ports.patterns.PatternRepository`."""

    async def of(self, signature: Signature) -> Pattern | None:
        row = self._rows.one(_BY_KEY, (signature.key,))
        return None if row is None else _pattern(row)

    def _of_key(self, key: str) -> Pattern:
        return _pattern(self._rows.all(_BY_KEY, (key,))[0])

    async def add(self, signature: Signature, fields: Mapping[str, Any]) -> Pattern:
        seq = self._next("error_patterns")
        own = {"pattern_id": f"P-{seq}", "seq": seq, "signature_key": signature.key, "signature": signature.text}
        own |= {"frames": " ".join(signature.frames), "agent_id": self._caller.agent_id}
        own |= {"created_at": self._at, "used_at": self._at, "kept_until": self._at}
        self._insert("error_patterns", {**own, **encoded_all(fields)})
        words = [*signature.index, _EVERY]
        self._rows.run_many(
            "INSERT INTO pattern_terms (term, pattern) VALUES (?, ?)", [(word, seq) for word in signature.index]
        )
        self._rows.run_many(
            "INSERT INTO pattern_term_counts (term, patterns) VALUES (?, 1)"
            " ON CONFLICT (term) DO UPDATE SET patterns = pattern_term_counts.patterns + 1",
            [(word,) for word in words],
        )
        return await self.change(self._of_key(signature.key), {})

    async def change(self, pattern: Pattern, fields: Mapping[str, Any]) -> Pattern:
        known = {name: value for name, value in fields.items() if name in Pattern.model_fields}
        changed = pattern.model_copy(update={**known, "used_at": self._now})
        until = kept_until(self._now, changed.confidence, changed.frequency, solved=changed.solution is not None)
        written = {**fields, "used_at": self._now, "kept_until": until}
        self._update("error_patterns", ("pattern_id", pattern.pattern_id), written)
        return changed

    async def alike(
        self, signature: Signature, limit: int, least: float, category: Category | None = None
    ) -> list[Found]:
        words = signature.index
        counts = self._counts([*words, _EVERY])
        patterns = counts.pop(_EVERY, 0)
        rarest = sorted((word for word in words if word in counts), key=lambda word: (counts[word], -words[word]))[
            :_RAREST
        ]
        if not rarest:
            return []
        weights: dict[int, float] = defaultdict(float)
        asked = [value for word in [*rarest, *[_EVERY] * (_RAREST - len(rarest))] for value in (word, _OF_EACH)]
        for row in self._rows.all(_LOOK, asked):
            weights[row["pattern"]] += words[row["term"]] * rarity(counts[row["term"]], patterns)
        nearest = sorted(weights, key=lambda seq: (-weights[seq], -seq))[:_COMPARED]
        known = {row["seq"]: _pattern(row) for row in self._by_seq(nearest)}
        theirs = {term.word for one in known.values() for line in one.known.terms for term in line}
        likeness = Likeness(signature, {**self._counts([*(theirs - {*words})]), **counts}, patterns)
        found = [Found(one, likeness.to(one.known)) for one in known.values() if category in (None, one.category)]
        good = sorted((one for one in found if one.likeness >= least), key=lambda one: (-one.worth, -one.pattern.seq))
        return good[:limit]

    def _by_seq(self, seqs: Sequence[int]) -> Iterable[dict[str, Any]]:
        for some, marks in parts(seqs):
            yield from self._rows.all(f"SELECT {_COLUMNS} FROM error_patterns WHERE seq IN ({marks})", some)

    def _counts(self, words: Sequence[str]) -> dict[str, int]:
        """Of those that some pattern has."""
        return {
            row["term"]: row["patterns"]
            for some, marks in parts(words)
            for row in self._rows.all(
                f"SELECT term, patterns FROM pattern_term_counts WHERE term IN ({marks}) AND patterns > 0", some
            )
        }

    async def met(self, task_id: str, pattern_id: str, failed_as: str, share: float) -> None:
        row = {"task_id": task_id, "pattern_id": pattern_id, "failed_as": failed_as, "at": self._at, "share": share}
        again = "ON CONFLICT (task_id, pattern_id) DO UPDATE SET times = pattern_uses.times + 1, at = excluded.at"
        anew = "outcome = CASE pattern_uses.outcome WHEN 'failed' THEN 'failed' END"
        self._insert("pattern_uses", row, f"{again}, failed_as = excluded.failed_as, share = excluded.share, {anew}")

    async def open_of(self, task_id: str) -> list[tuple[Pattern, str, float]]:
        rows = self._rows.all(
            f"""
            SELECT {_OF_PATTERN}, u.failed_as, u.share
            FROM pattern_uses AS u CROSS JOIN error_patterns AS p ON p.pattern_id = u.pattern_id
            WHERE u.task_id = ? AND u.outcome IS NULL AND p.solution IS NOT NULL ORDER BY p.seq LIMIT 20
            """,
            (task_id,),
        )
        return [(_pattern(row), row["failed_as"], row["share"]) for row in rows]

    async def judged_of(self, task_id: str) -> set[str]:
        return set(
            self._rows.column(
                "SELECT pattern_id FROM pattern_uses WHERE task_id = ? AND outcome = 'failed'", (task_id,)
            )
        )

    async def judge(self, task_id: str, pattern_id: str, outcome: str) -> None:
        self._rows.put(
            "UPDATE pattern_uses SET outcome = ? WHERE task_id = ? AND pattern_id = ?", (outcome, task_id, pattern_id)
        )

    async def tasks_of(self, pattern_id: str, limit: int) -> list[str]:
        sql = "SELECT task_id FROM pattern_uses WHERE pattern_id = ? ORDER BY at DESC LIMIT ?"
        return self._rows.column(sql, (pattern_id, limit))

    async def page(self, after: int, limit: int) -> list[Pattern]:
        sql = f"SELECT {_COLUMNS} FROM error_patterns WHERE seq > ? AND solution IS NOT NULL ORDER BY seq LIMIT ?"
        return [_pattern(row) for row in self._rows.all(sql, (after, limit))]

    async def forget(self, now: datetime, most: int, batch: int) -> int:
        over = max(0, await self.count() - most)
        first = self._rows.all(
            "SELECT seq, pattern_id, kept_until FROM error_patterns ORDER BY kept_until, seq LIMIT ?", (batch,)
        )
        gone = [row for place, row in enumerate(first) if place < over or row["kept_until"] < iso(now)]
        for some, marks in parts([row["seq"] for row in gone]):
            lost = self._rows.all(
                f"SELECT term, count(*) AS n FROM pattern_terms WHERE pattern IN ({marks}) GROUP BY term", some
            )
            lost.append({"term": _EVERY, "n": len({*some})})
            self._rows.run_many(
                "UPDATE pattern_term_counts SET patterns = patterns - ? WHERE term = ?",
                [(row["n"], row["term"]) for row in lost],
            )
            self._rows.put(f"DELETE FROM pattern_terms WHERE pattern IN ({marks})", some)
            self._rows.put(f"DELETE FROM error_patterns WHERE seq IN ({marks})", some)
            for words, places in parts([row["term"] for row in lost]):
                self._rows.put(f"DELETE FROM pattern_term_counts WHERE patterns <= 0 AND term IN ({places})", words)
        for some, marks in parts([row["pattern_id"] for row in gone]):
            self._rows.put(f"DELETE FROM pattern_uses WHERE pattern_id IN ({marks})", some)
        return len(gone)

    async def count(self) -> int:
        return int(self._rows.value("SELECT patterns FROM pattern_term_counts WHERE term = ?", (_EVERY,)) or 0)


def _pattern(row: Mapping[str, Any]) -> Pattern:
    return Pattern.model_validate({**row, "files": json.loads(row["files"])})
