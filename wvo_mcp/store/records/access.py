"""Who may come in over HTTP."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.access import SESSION_RESTS, AccessKey
from wvo_mcp.domain.instant import iso
from wvo_mcp.store.records.rows import Repository, encoded_all

_KEY = ", ".join(AccessKey.model_fields)
_ADMITS = """revoked_at IS NULL AND used_at IS NULL AND expires_at > ?
    AND (kind <> 'session' OR coalesce(last_used_at, created_at) > ?)"""


class Access(Repository):
    """`ports.access.AccessRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> AccessKey:
        values = {**encoded_all(fields), "created_at": self._at}
        self._insert("access_tokens", values)
        return AccessKey.model_validate(values)

    async def find(self, token_id: str) -> AccessKey | None:
        row = self._rows.one(f"SELECT {_KEY} FROM access_tokens WHERE token_id = ?", (token_id,))
        return None if row is None else AccessKey.model_validate(row)

    async def listed(self, *, ended: bool, limit: int, after: tuple[datetime, str] | None = None) -> list[AccessKey]:
        where, params = ("TRUE", ()) if ended else (_ADMITS, (self._at, iso(self._now - SESSION_RESTS)))
        if after is not None:
            made = iso(after[0])
            where, params = (
                f"{where} AND (created_at < ? OR (created_at = ? AND token_id > ?))",
                (*params, made, made, after[1]),
            )
        rows = self._rows.all(
            f"SELECT {_KEY} FROM access_tokens WHERE {where} ORDER BY created_at DESC, token_id LIMIT ?",
            (*params, limit),
        )
        return [AccessKey.model_validate(row) for row in rows]

    async def surplus(self, session: AccessKey, token_id: str | None, kept: int) -> list[AccessKey]:
        made_of_link = """name = ? AND NOT EXISTS (
            SELECT 1 FROM access_tokens AS key WHERE key.token_id = one.parent AND key.kind = 'token')"""
        same, given = ("parent = ?", token_id) if token_id else (made_of_link, session.name)
        rows = self._rows.all(
            f"""
            SELECT {_KEY} FROM access_tokens AS one WHERE kind = 'session' AND token_id <> ? AND {same}
            ORDER BY revoked_at IS NOT NULL, expires_at <= ?, coalesce(last_used_at, created_at) DESC, created_at DESC, token_id
            LIMIT 100 OFFSET ?""",
            (session.token_id, given, self._at, kept),
        )
        return [AccessKey.model_validate(row) for row in rows]

    async def touch(self, token_id: str, seconds: float) -> None:
        self._rows.put(
            "UPDATE access_tokens SET last_used_at = ? WHERE token_id = ? AND coalesce(last_used_at, '') <= ?",
            (self._at, token_id, iso(self._now - timedelta(seconds=seconds))),
        )

    async def use_up(self, token_id: str) -> bool:
        used = "UPDATE access_tokens SET used_at = ?, last_used_at = ? WHERE token_id = ? AND used_at IS NULL"
        return self._rows.run(used, (self._at, self._at, token_id)) == 1

    async def revoke(self, token_id: str) -> int:
        return self._rows.run(
            "UPDATE access_tokens SET revoked_at = ? WHERE (token_id = ? OR parent = ?) AND revoked_at IS NULL",
            (self._at, token_id, token_id),
        )

    async def remove(self, token_id: str) -> None:
        self._rows.put("DELETE FROM access_tokens WHERE token_id = ?", (token_id,))

    async def forget(self, before: datetime, limit: int) -> int:
        return self._rows.run(
            """
            DELETE FROM access_tokens WHERE token_id IN (
              SELECT token_id FROM access_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ?
            )""",
            (iso(before), limit),
        )
