"""Who may come in over HTTP: commands of people, and controls of the page for admins. Never tools."""

import re
from datetime import datetime, timedelta
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import Field

from wvo_mcp.domain.access import ROLES, AccessKey
from wvo_mcp.domain.instant import Instant, duration, instant, iso
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.text import Id, Label, Reference
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration import access

ADDRESS = "http://127.0.0.1:8737"
_LAST_ADDRESS = "login_address"
_LONGEST = timedelta(days=366)
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\.([0-9a-f]{12})", re.ASCII)


class TokenCreate(Input):
    name: Id = Field(description="Name of who uses it, shown in the history.")
    role: Literal["viewer", "agent", "operator", "admin"] = Field(description="What it may do.")
    expires: Label = Field(default="30d", description="How long it lasts, e.g. 12h or 30d; at most 366d.")


class TokenCreated(Output):
    token_id: str
    token: str = Field(description="Shown this once.")
    name: str
    role: str
    expires_at: Instant


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.ADMIN)
async def token_create(ctx: Context, params: TokenCreate) -> TokenCreated:
    """Create a token for the HTTP server. It is shown once; only its hash is kept."""
    lasts = duration(params.expires)
    if lasts is None or lasts > _LONGEST:
        raise InvalidInput("expires", "give a duration such as 12h, 30d or 1d12h, at most 366d")
    await ctx.tx.sessions.ensure()
    row, token = await access.make_token(ctx.tx, params.name, ROLES[params.role], lasts)
    return TokenCreated.of(row, token=token)


class TokenList(Input):
    ended: bool = Field(default=False, description="Also expired, used and revoked ones.")
    limit: int = Field(default=100, ge=1, le=100, description="Page size.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


class TokenLine(Output):
    token_id: str
    kind: str
    name: str
    role: str
    state: str
    made_by: str
    parent: str | None = None
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None = None


class Tokens(Output):
    tokens: list[TokenLine] = Field(description="The newest first; never a secret.")
    next_cursor: str | None = Field(default=None, description="There are older ones.")


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE, role=Role.ADMIN)
async def token_list(ctx: Context, params: TokenList) -> Tokens:
    """List tokens, sign-in links and signed-in browsers, with their last use."""
    rows = await ctx.tx.access.listed(ended=params.ended, limit=params.limit + 1, after=_after(params.cursor))
    page = fitting(_line(row, ctx) for row in rows[: params.limit])
    last = rows[len(page) - 1] if len(page) < len(rows) else None
    return Tokens(tokens=page, next_cursor=None if last is None else f"{iso(last.created_at)}.{last.token_id}")


def _after(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises InvalidInput."""
    if not cursor:
        return None
    try:
        found = _CURSOR.fullmatch(cursor)
        return (instant(found[1]), found[2]) if found is not None else _wrong_cursor()
    except ValueError:
        return _wrong_cursor()


def _wrong_cursor() -> NoReturn:
    raise InvalidInput("cursor", "give the next_cursor of an earlier page, unchanged")


def _line(row: AccessKey, ctx: Context) -> TokenLine:
    return TokenLine.of(row, kind=row.kind.value, state=row.ended(ctx.tx.now) or "valid")


class TokenRevoke(Input):
    token_id: Id = Field(description="Id of a token, link or session.")


class Revoked(Output):
    token_id: str
    name: str
    ended: int = Field(description="Keys that no longer work: it, and sessions made with it.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.ADMIN, idempotent=True)
async def token_revoke(ctx: Context, params: TokenRevoke) -> Revoked:
    """Revoke a token, a sign-in link or the session of a browser, and the sessions that were made with it."""
    await ctx.tx.sessions.ensure()
    row, ended = await access.revoke(ctx.tx, params.token_id)
    return Revoked.of(row, ended=ended)


class LoginLink(Input):
    address: Reference | None = Field(
        default=None,
        description=f"Address of the server as the browser sees it; default: that of the last link, which a server makes as it"
        f" starts, else {ADDRESS}.",
    )


class LoginAddress(Output):
    address: str = Field(description="To be opened once; it shows a button that signs in.")
    role: str
    expires_at: Instant


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.ADMIN)
async def login_link(ctx: Context, params: LoginLink) -> LoginAddress:
    """Make a link that signs one browser in, within ten minutes. The server that runs takes it."""
    await ctx.tx.sessions.ensure()
    address = params.address or await ctx.tx.state.get(_LAST_ADDRESS) or ADDRESS
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput("address", "begins with http:// or https:// and names a host, such as " + ADDRESS)
    if params.address is not None:
        await ctx.tx.state.put(_LAST_ADDRESS, address)
    row, code = await access.make_link(ctx.tx)
    return LoginAddress.of(row, address=f"{address.rstrip('/')}/login/{code}")
