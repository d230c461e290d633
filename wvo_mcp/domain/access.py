"""Who asks over HTTP."""

from dataclasses import dataclass
from enum import StrEnum

from wvo_mcp.domain.lease import Role

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
    """Of the token or the login; the subject of a JWT."""
    csrf: str | None = None
    """What each form of a page of theirs carries; None where there is no cookie that a browser sends by itself."""


LOOPBACK = Principal(ANONYMOUS, Role.AGENT, Via.LOOPBACK)
"""At `/api` and `/mcp`."""
LOOPBACK_READER = Principal(ANONYMOUS, Role.VIEWER, Via.LOOPBACK)
"""On pages and `/stream`."""
