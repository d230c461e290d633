"""What admits over HTTP: keys that are rows of the store, and JWTs that somebody else signs."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.access import AccessKey, Principal


class AccessRepository(Protocol):
    """The rows of `access_tokens`, within one transaction. No secret is ever given to it, only its hash."""

    async def add(self, fields: Mapping[str, Any]) -> AccessKey:
        """Made now."""

    async def find(self, token_id: str) -> AccessKey | None: ...

    async def listed(self, *, ended: bool, limit: int, after: tuple[datetime, str] | None = None) -> list[AccessKey]:
        """The newest first; with `ended` also those that admit nobody any more. `after`: when the last one of the page before
        was made, and its id."""

    async def surplus(self, session: AccessKey, token_id: str | None, kept: int) -> list[AccessKey]:
        """Sessions of this token, or with None of the links of the same name, without this one and the `kept` that were used
        last; what admits nobody any more comes first. At most 100."""

    async def touch(self, token_id: str, seconds: float) -> None:
        """It is used now; not written when that was said less than so many seconds ago."""

    async def use_up(self, token_id: str) -> bool:
        """True for one caller only, whoever else asks at the same time."""

    async def revoke(self, token_id: str) -> int:
        """It, and what was made of it, admits nobody from now on; how many did until now."""

    async def remove(self, token_id: str) -> None: ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove those that expired before then, at most so many; how many."""


class InvalidToken(Exception):
    """The text says what is wrong with a JWT, and quotes nothing of it. `forged`: nobody we trust has signed it."""

    def __init__(self, why: str, *, forged: bool) -> None:
        super().__init__(why)
        self.forged = forged


class KeysUnavailable(Exception):
    """The keys that JWTs are checked with cannot be had; the text says why."""


class IdentityTokens(Protocol):
    """JWTs of one issuer."""

    issuer: str

    async def principal(self, token: str) -> Principal:
        """Raises InvalidToken, KeysUnavailable, and Forbidden for a role that we do not know. Bounded in time; holds up
        nobody else."""
