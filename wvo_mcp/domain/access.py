"""Who asks over HTTP, and what they show for it."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.text import as_id

ANONYMOUS = "http"
"""The name of whoever asks from this machine and shows nothing."""


class Via(StrEnum):
    """What a request showed."""

    LOOPBACK = "loopback"
    """Nothing, and it comes from this machine."""
    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    JWT = "jwt"
    SESSION = "session"
    """The cookie of a login."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is made by, and what it may do."""

    name: str
    """An id: what the audit trail calls them."""
    role: Role
    via: Via
    key_id: str = ""
    """Of the token or the login; `jwt:NAME` of a JWT."""
    csrf: str | None = None
    """What each form of a page of theirs carries; None where there is no cookie that a browser sends by itself."""
    root_id: str = ""
    """Of a session: the token or link that it was made of."""
    until: datetime | None = None
    """Of a JWT: it admits nobody from then on."""

    @property
    def share(self) -> str:
        """Whose part of what is bounded it takes: all sessions of a token have one with it."""
        return self.root_id or self.key_id


LOOPBACK = Principal(ANONYMOUS, Role.AGENT, Via.LOOPBACK)
"""At `/api` and `/mcp`."""
LOOPBACK_READER = Principal(ANONYMOUS, Role.VIEWER, Via.LOOPBACK)
"""On pages and `/stream`."""


@dataclass(frozen=True, slots=True)
class Doors:
    """How the server may be reached, as it was started."""

    allow_hosts: tuple[str, ...] = ()
    """Names that it is called by, beside those of this machine and the address that it listens on."""
    certfile: str | None = None
    keyfile: str | None = None
    require_token: bool = False
    """From this machine too: behind a proxy everybody comes from there."""


DOORS = Doors()


MOST_EACH = 100
"""Streams at once of one who has signed in, so that one token does not keep everybody else from having any."""
MOST_HERE = 200
"""Of all who show nothing, from this machine."""


def most_streams(principal: Principal) -> int:
    return MOST_HERE if principal.via is Via.LOOPBACK else MOST_EACH


class Kind(StrEnum):
    """Of a row of `access_tokens`."""

    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    LINK = "link"
    """Admits once; `/login/ID.SECRET`."""
    SESSION = "session"
    """The cookie of a browser, `ID.SECRET`."""


LINK_LASTS = timedelta(minutes=10)
SESSION_LASTS = timedelta(days=30)
SESSION_RESTS = timedelta(days=7)
"""A session that was not used for so long has ended."""
SECRET_BYTES = 32
ID_BYTES = 6

ROLES = {role.name.lower(): role for role in Role}

_ID = r"[0-9a-f]{12}"
_SECRET = r"[A-Za-z0-9_-]{43}"  # noqa: S105 - a pattern
_FORMS = {
    Kind.TOKEN: re.compile(rf"wvo_({_ID})_({_SECRET})"),
    Kind.LINK: re.compile(rf"({_ID})\.({_SECRET})"),
    Kind.SESSION: re.compile(rf"({_ID})\.({_SECRET})"),
}
IN_ADDRESS = re.compile(rf"wvo_({_ID})_|[?&;](?:access_)?token=", re.IGNORECASE)
"""What has no place in an address: those are logged, kept and sent on by everybody."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A key as it was shown: which one it claims to be, and the secret that proves it."""

    key_id: str
    secret: str

    @classmethod
    def parse(cls, kind: Kind, text: str) -> "Shown | None":
        """None for what is no key of this kind, whatever it is."""
        found = _FORMS[kind].fullmatch(text)
        return None if found is None else cls(found[1], found[2])

    def written(self, kind: Kind) -> str:
        return f"wvo_{self.key_id}_{self.secret}" if kind is Kind.TOKEN else f"{self.key_id}.{self.secret}"

    @property
    def hash(self) -> str:
        """Of 256 random bits: a slow hash would add nothing."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    @property
    def csrf(self) -> str:
        """Of a session: known to whoever can read its pages, and no way back to the cookie."""
        return base64.urlsafe_b64encode(hmac.digest(self.secret.encode(), b"csrf", "sha256")).decode().rstrip("=")


class AccessKey(BaseModel, frozen=True, defer_build=True):
    """A row of `access_tokens`."""

    token_id: str
    kind: Kind
    name: str
    role: str
    hash: str
    made_by: str
    parent: str | None = None
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None = None
    used_at: Instant | None = None
    revoked_at: Instant | None = None

    def proven_by(self, shown: Shown) -> bool:
        """Takes as long for every wrong secret."""
        return hmac.compare_digest(self.hash, shown.hash)

    def ended(self, now: Instant) -> str | None:
        """Why it admits nobody any more: revoked, used, expired, unused."""
        if self.revoked_at is not None:
            return "revoked"
        if self.used_at is not None:
            return "used"
        if now >= self.expires_at:
            return "expired"
        rested = now - (self.last_used_at or self.created_at)
        return "unused" if self.kind is Kind.SESSION and rested >= SESSION_RESTS else None

    def principal(self, via: Via, csrf: str | None = None) -> Principal:
        return Principal(self.name, ROLES[self.role], via, self.token_id, csrf, self.parent or "")


def name_of_subject(subject: str) -> str:
    """The id that stands for the subject of a JWT: two subjects never share one."""
    name = as_id(subject)
    return name if name == subject else f"{name[:51]}-{hashlib.sha256(subject.encode()).hexdigest()[:12]}"
