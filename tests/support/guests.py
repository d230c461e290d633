"""Who asks for pages, and pages asked for without a socket in between."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
from starlette.types import Receive, Scope, Send

from tests.support.bench import Bench
from tests.support.web import without_access
from wvo_mcp.domain.access import LOOPBACK_READER, Principal, Via
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.faces.http import build_site
from wvo_mcp.operations import Container

CSRF = "a-token-of-the-session"


def a_visitor(role: Role, name: str = "pat") -> Principal:
    """Somebody who has signed in with this role."""
    return Principal(name, role, Via.SESSION, "1", CSRF)


NOBODY = replace(LOOPBACK_READER)
"""Who shows nothing, from this machine."""


def identify(principal: Principal, agent_id: str | None, ports: tuple[int, int] | None) -> Caller:
    name = agent_id or principal.name
    return Caller(name, f"web:{name}", client="web", durable=True, role=principal.role, pooled=False)


@asynccontextmanager
async def visiting(
    bench: Bench, who: Principal = NOBODY, services: Container | None = None
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client whose requests are made by `who`."""
    site = without_access(build_site(services or bench.services, identify))

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["principal"] = who
        await site(scope, receive, send)

    transport = httpx2.ASGITransport(known)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8737") as client:
        yield client


def controls(html: str) -> set[str]:
    """The operations that a page offers."""
    return set(re.findall(r'<form class="control[^"]*" method="post" action="/do/(\w+)"', html))
