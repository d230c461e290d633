"""Pages as somebody with a role reads and uses them, asked without a socket in between."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.support.web import without_access
from wvo_mcp.domain.access import LOOPBACK_READER, Principal, Via
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.faces.http import build_site
from wvo_mcp.operations import Container

CSRF = "a-token-of-the-form"
NEWEST = "9" * 9
"""A page that knows all that has happened."""


def a_principal(role: Role) -> Principal:
    return LOOPBACK_READER if role is Role.VIEWER else Principal("pat", role, Via.SESSION, "k1", CSRF)


def as_caller(principal: Principal, agent_id: str | None = None, ports: tuple[int, int] | None = None) -> Caller:
    return Caller(principal.name, f"web:{principal.key_id}", client="http", durable=True, role=principal.role)


class Visitor:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def get(self, address: str) -> httpx2.Response:
        return await self._client.get(address)

    async def page(self, address: str) -> str:
        answer = await self.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def data(self, address: str) -> dict[str, Any]:
        answer = await self.get(address)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, operation: str, **fields: Any) -> httpx2.Response:
        form: Mapping[str, Any] = {"csrf": CSRF, "back": "/", "seen": NEWEST, **fields}
        return await self._client.post(f"/do/{operation}", data=form)


@asynccontextmanager
async def visiting(services: Container, role: Role = Role.OPERATOR) -> AsyncGenerator[Visitor]:
    site = without_access(build_site(services, as_caller))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = a_principal(role)
        await site(scope, receive, send)

    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8737") as client:
        yield Visitor(client)


def controls(html: str) -> list[str]:
    """The buttons of forms that do something, in their order."""
    forms = re.findall(r'action="/do/(\w+)".*?<button[^>]*>(.*?)</button>', html, re.DOTALL)
    return [label for _, label in forms]


def operations(html: str) -> list[str]:
    return re.findall(r'action="/do/(\w+)"', html)
