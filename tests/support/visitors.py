"""Whoever asks the HTTP face over a real store: from an address, with what they show."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.bench import OWNER, Bench
from wvo_mcp.app import http_caller
from wvo_mcp.domain.access import DOORS, Doors, Kind, Principal, Shown
from wvo_mcp.domain.lease import Caller
from wvo_mcp.faces.http import build_site
from wvo_mcp.operations import ALL
from wvo_mcp.ports.access import IdentityTokens
from wvo_mcp.settings import Settings

HERE = "127.0.0.1"
AWAY = "203.0.113.7"
NAME = "wvo.example"
ROLES = ("viewer", "agent", "operator", "admin")
COOKIE = "wvo_session_8737"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class House:
    """A site, and visitors of it."""

    def __init__(self, bench: Bench, doors: Doors = DOORS, jwt: IdentityTokens | None = None) -> None:
        self.bench = bench
        self._doors, self._jwt = doors, jwt
        self.restart()

    def restart(self) -> None:
        """A new server on the same store."""
        self.site = build_site(self.bench.services, self._identify, doors=self._doors, jwt=self._jwt)

    def _identify(self, principal: Principal, agent_id: str | None, ports: tuple[int, int] | None) -> Caller:
        return http_caller(Settings(root=Path("/nowhere")), principal, agent_id)

    def visitor(
        self, address: str = HERE, headers: Mapping[str, str] | None = None, *, host: str = f"{HERE}:8737", **more: Any
    ) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.site, client=(address, 50_000), **more)
        return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    async def call(self, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """As the person who owns it."""
        return await ALL[operation](self.bench.services, OWNER, arguments)

    async def token(self, role: str, name: str = "ann", **arguments: Any) -> str:
        return str((await self.call("token_create", name=name, role=role, **arguments))["token"])

    async def link(self) -> str:
        """The path of it."""
        made = await self.call("login_link", address=f"http://{HERE}:8737")
        return str(made["address"]).removeprefix(f"http://{HERE}:8737")

    @asynccontextmanager
    async def signed_in(self, role: str = "admin", **where: Any) -> AsyncGenerator[httpx2.AsyncClient]:
        """A browser with the cookie of a token of this role."""
        async with self.visitor(**where) as browser:
            made = await browser.post("/login", data={"token": await self.token(role)})
            assert made.status_code == 303, made.text
            yield browser


def csrf_of(browser: httpx2.AsyncClient) -> str:
    """What the pages of this browser's session have in their forms."""
    shown = Shown.parse(Kind.SESSION, browser.cookies[COOKIE])
    assert shown is not None
    return shown.csrf
