"""Tokens, links and cookies as requests show them, looked up in the store; JWTs, checked by their issuer's keys."""

from contextlib import suppress
from datetime import datetime

from wvo_mcp.domain.access import AccessKey, Kind, Principal, Shown, Via
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.access.tries import Tries
from wvo_mcp.faces.http.guard import NotAdmitted
from wvo_mcp.orchestration import access
from wvo_mcp.ports import Clock, Store, Transaction
from wvo_mcp.ports.access import IdentityTokens, InvalidToken, KeysUnavailable

_CALLER = Caller("wvo-mcp", "http-access", client="http", durable=True, role=Role.ADMIN, pooled=False)
"""In whose name rows are read, and sign-ins recorded."""
_UNKNOWN = ""
_ENDED = {
    "revoked": "was revoked",
    "used": "was used already",
    "expired": "has expired",
    "unused": "has ended: it was not used for a week",
}
_HINT = "A person makes one: wvo-mcp token create NAME --role ROLE."
_LINK_HINT = "Make another one: wvo-mcp login-link."


class Keys:
    """Every look is a fresh read: what is revoked admits nobody from the next request on."""

    def __init__(self, store: Store, clock: Clock, jwt: IdentityTokens | None = None) -> None:
        self._store = store
        self._clock = clock
        self._tries = Tries(clock)
        self.jwt = jwt
        self._touching: set[str] = set()

    async def of_bearer(self, text: str, address: str) -> tuple[Principal, AccessKey | None]:
        """Raises NotAdmitted, Forbidden, and the store's errors."""
        if self.jwt is not None and text.count(".") == 2:
            return await self._of_jwt(self.jwt, text, address), None
        row = await self._valid(Kind.TOKEN, Shown.parse(Kind.TOKEN, text), address, _HINT)
        return row.principal(Via.TOKEN), row

    async def of_cookie(self, text: str) -> tuple[Principal, AccessKey] | None:
        """None for one that is not, or no longer, good for anything: browsers send them by themselves."""
        shown = Shown.parse(Kind.SESSION, text)
        if shown is None:
            return None
        row, now = await self._look(Kind.SESSION, shown)
        # 256 random bits need no lock-out: whoever guesses must not keep out whoever knows.
        if row is None or not row.proven_by(shown) or row.ended(now) is not None:
            return None
        return row.principal(Via.SESSION, shown.csrf), row

    async def log_in(self, kind: Kind, text: str, address: str) -> tuple[AccessKey, str]:
        """The new session and its cookie, for a link or a token. Raises NotAdmitted."""
        hint = _LINK_HINT if kind is Kind.LINK else _HINT
        shown = Shown.parse(kind, text)
        await self._valid(kind, shown, address, hint)
        assert shown is not None  # noqa: S101 - else it was not valid
        made = await self._store.write(_CALLER, lambda tx: access.log_in(tx, kind, shown))
        if not isinstance(made, tuple):  # it ended between the two looks
            raise _refused(kind, _ENDED[made or "revoked"], hint)
        return made

    async def log_out(self, principal: Principal) -> None:
        """The session of a cookie ends."""
        await self._store.write(_CALLER, lambda tx: access.revoke(tx, principal.key_id))

    async def holds(self, principal: Principal) -> bool:
        """Does what admitted it still do so? For what lasts longer than a request."""
        if principal.via not in (Via.TOKEN, Via.SESSION):
            return principal.until is None or self._clock.now() < principal.until

        async def ended(tx: Transaction) -> bool:
            row = await tx.access.find(principal.key_id)
            return row is None or row.ended(tx.now) is not None

        return not await self._store.read(_CALLER, ended)

    async def touch(self, row: AccessKey) -> None:
        """It was used: said at most once a minute, and never in the way of the request, which is answered by now."""
        last = row.last_used_at
        recent = last is not None and abs((self._clock.now() - last).total_seconds()) < access.USE_SECONDS
        if recent or row.token_id in self._touching:
            return
        self._touching.add(row.token_id)
        try:
            with suppress(WvoError):
                await self._store.write(_CALLER, lambda tx: tx.access.touch(row.token_id, access.USE_SECONDS))
        finally:
            self._touching.discard(row.token_id)

    async def _of_jwt(self, jwt: IdentityTokens, text: str, address: str) -> Principal:
        try:
            return await jwt.principal(text)
        except InvalidToken as error:
            if error.forged:
                self._wrong(address, "jwt")
            raise NotAdmitted(f"The JWT is refused: {error}.", 401, hint="Get a new one from its issuer.") from None
        except KeysUnavailable as error:
            hint = "Call again later; tokens of wvo-mcp itself are taken meanwhile."
            raise NotAdmitted(f"JWTs cannot be checked: {error}.", 503, hint=hint) from None

    async def _look(self, kind: Kind, shown: Shown) -> tuple[AccessKey | None, datetime]:
        async def look(tx: Transaction) -> tuple[AccessKey | None, datetime]:
            row = await tx.access.find(shown.key_id)
            return (row if row is not None and row.kind is kind else None), tx.now

        return await self._store.read(_CALLER, look)

    async def _valid(self, kind: Kind, shown: Shown | None, address: str, hint: str) -> AccessKey:
        """Raises NotAdmitted."""
        row, now = (None, None) if shown is None else await self._look(kind, shown)
        if shown is None or row is None or now is None:
            self._wrong(address, _UNKNOWN)
            raise _refused(kind, "is not known here", hint)
        # A right one is taken whatever was tried before: 256 random bits need no lock-out, and ids of keys are no secrets.
        if not row.proven_by(shown):
            self._wrong(address, row.token_id)
            raise _refused(kind, "is not known here", hint)
        ended = row.ended(now)
        if ended is not None:
            raise _refused(kind, _ENDED[ended], hint)
        return row

    def _wrong(self, address: str, key: str) -> None:
        self._check(self._tries.wrong(address, key))

    def _check(self, seconds: int) -> None:
        if seconds:
            raise NotAdmitted(
                "Too many wrong keys came from this address.",
                429,
                hint=f"Wait {seconds} s.",
                headers={"retry-after": str(seconds)},
            )


def _refused(kind: Kind, why: str, hint: str) -> NotAdmitted:
    return NotAdmitted(f"The {kind.value} {why}.", 401, hint=hint)
