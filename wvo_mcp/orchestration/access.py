"""Tokens, links and logins: made, shown, exchanged, revoked. Each function belongs to one transaction."""

import secrets
from datetime import datetime, timedelta

from wvo_mcp.domain.access import (
    ID_BYTES,
    LINK_LASTS,
    SECRET_BYTES,
    SESSION_LASTS,
    AccessKey,
    Kind,
    Shown,
)
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.text import did_you_mean
from wvo_mcp.errors import NotFound
from wvo_mcp.ports import Transaction

MOST_SESSIONS = 20
"""Of one token, and of the links of one person: so many browsers stay signed in, those that were used last."""
USE_SECONDS = 60.0
"""The last use of a key is written once in so many seconds."""
_LOOKED = 100


async def make_token(tx: Transaction, name: str, role: Role, lasts: timedelta) -> tuple[AccessKey, str]:
    """The row, and the text that is shown this once."""
    row, shown = await _make(tx, Kind.TOKEN, name, role, tx.now + lasts)
    return row, shown.written(Kind.TOKEN)


async def make_link(tx: Transaction) -> tuple[AccessKey, str]:
    """Of the caller, with the caller's role."""
    row, shown = await _make(tx, Kind.LINK, tx.caller.agent_id, tx.caller.role, tx.now + LINK_LASTS)
    return row, shown.written(Kind.LINK)


async def find(tx: Transaction, kind: Kind, shown: Shown) -> AccessKey | None:
    """The row of the key, if the secret is its own; it may have ended."""
    row = await tx.access.find(shown.key_id)
    return row if row is not None and row.kind is kind and row.proven_by(shown) else None


async def log_in(tx: Transaction, kind: Kind, shown: Shown) -> tuple[AccessKey, str] | str | None:
    """A session for a link, which is used up by it, or a token; or why that admits nobody any more; None for a wrong one."""
    parent = await find(tx, kind, shown)
    if parent is None:
        return None
    ended = parent.ended(tx.now)
    if ended is None and kind is Kind.LINK and not await tx.access.use_up(parent.token_id):
        ended = "used"
    if ended is not None:
        return ended
    # Not in the name of the server, which only carries it out: the trail says who came in.
    until = tx.now + SESSION_LASTS if kind is Kind.LINK else min(parent.expires_at, tx.now + SESSION_LASTS)
    row, session = await _make(tx, Kind.SESSION, parent.name, _role(parent), until, parent)
    token_id = parent.token_id if kind is Kind.TOKEN else None
    for old in await tx.access.surplus(row, token_id, MOST_SESSIONS - 1):
        await tx.access.remove(old.token_id)
        if old.ended(tx.now) is None:
            await _record(tx, "access.revoked", old)
    return row, session.written(Kind.SESSION)


async def revoke(tx: Transaction, token_id: str) -> tuple[AccessKey, int]:
    """It and the logins that were made of it; how many admit nobody from now on. Raises NotFound."""
    row = await tx.access.find(token_id)
    if row is None:
        known = [one.token_id for one in await tx.access.listed(ended=False, limit=_LOOKED)]
        hint = f"token_list shows the ids.{did_you_mean(token_id, known)}"
        raise NotFound("token", token_id, field="token_id", hint=hint)
    ended = await tx.access.revoke(token_id)
    if ended:
        await _record(tx, "access.revoked", row)
    return row, ended


def _role(row: AccessKey) -> Role:
    return Role[row.role.upper()]


async def _make(
    tx: Transaction, kind: Kind, name: str, role: Role, until: datetime, parent: AccessKey | None = None
) -> tuple[AccessKey, Shown]:
    shown = Shown(secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES))
    row = await tx.access.add(
        {
            "token_id": shown.key_id,
            "kind": kind,
            "name": name,
            "role": role.name.lower(),
            "hash": shown.hash,
            "made_by": parent.made_by if parent else tx.caller.agent_id,
            "parent": parent.token_id if parent else None,
            "expires_at": until,
        }
    )
    await _record(tx, "access.signed_in" if parent else "access.made", row)
    return row, shown


async def _record(tx: Transaction, event: str, row: AccessKey) -> None:
    told = {"token_id": row.token_id, "kind": row.kind.value, "name": row.name, "role": row.role, "parent": row.parent}
    await tx.events.append(event, None, {name: value for name, value in told.items() if value is not None})
