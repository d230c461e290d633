"""`wvo-mcp serve --http` as it would be served to other machines: who shows no token is refused, here on loopback.

`python -m tests.clients.serve_with_token TOKEN --port PORT`
"""

import sys

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from wvo_mcp.app import serve_http
from wvo_mcp.domain.access import Principal, Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.errors import Forbidden
from wvo_mcp.faces import http
from wvo_mcp.faces.http.guard import answer
from wvo_mcp.settings import load

ANN = Principal("ann", Role.AGENT, Via.TOKEN, "k1")


class NeedsToken:
    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if Headers(scope=scope).get("authorization") == f"Bearer {self._token}":
            scope.setdefault("state", {})["principal"] = ANN
            await self._app(scope, receive, send)
            return
        sys.stderr.write(f"wvo-mcp: INFO {scope['method']} {scope['path']} 401 0.0 ms\n")
        sys.stderr.flush()
        refusal = answer(Forbidden("This server needs a token.", hint="Send Authorization: Bearer wvo_..."))
        refusal.status_code = 401
        refusal.headers["www-authenticate"] = "Bearer"
        await refusal(scope, receive, send)


def main(token: str, _: str, port: str) -> int:
    plain = http.run

    async def run(site: ASGIApp, *more: object) -> None:
        await plain(NeedsToken(site, token), *more)  # pyright: ignore[reportArgumentType]

    http.run = run  # pyright: ignore[reportAttributeAccessIssue]

    def told(address: str) -> None:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()

    return anyio.run(lambda: serve_http(load(), "127.0.0.1", int(port), told))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
