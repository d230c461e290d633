"""Pages as answers: HTML, the same as JSON, and what went wrong in the page's place."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from wvo_mcp.domain.lease import Role
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.api import Identify, principal_of, writer_of
from wvo_mcp.faces.http.guard import STATUS, answer, shown
from wvo_mcp.faces.http.pages.page import Page, Visit
from wvo_mcp.faces.http.pages.rendering import digest, environment, personal, regions, variables
from wvo_mcp.faces.http.static import address_of
from wvo_mcp.operations import ALL, Container
from wvo_mcp.operations.results import defect, payload
from wvo_mcp.ports import WatchedStore


class Pages:
    """All pages of one project."""

    def __init__(self, services: Container, identify: Identify, pages: Sequence[Page], project: str) -> None:
        """`project` is its name, as people see it."""
        self.services = services
        self.pages = pages
        self.project = project
        self._identify = identify

    def routes(self) -> list[Route]:
        found: list[Route] = []
        for page in self.pages:
            # The JSON of the overview has the name of what it is, for its address has none.
            data = "/index.json" if page.address == "/" else f"{page.address}.json"
            found.append(Route(data, self._answering(page, self._json)))
            found.append(Route(page.address, self._answering(page, self._html)))
        return found

    def visit(self, request: Request, path: dict[str, str], query: dict[str, str]) -> Visit:
        """Who looks at a page works with nothing: what waits for an agent stays for its calls."""
        principal = principal_of(request.scope)
        caller = self._identify(principal, None, None)
        if caller.role < Role.OPERATOR:
            caller = replace(caller, role=Role.VIEWER)
        return Visit(self.services, caller, principal, path, query)

    async def actor(self, request: Request) -> Visit:
        """Who does something on a page; what a worker started only reads here too."""
        caller = await writer_of(self._identify, request)
        return Visit(self.services, caller, principal_of(request.scope))

    async def seen(self, visit: Visit) -> int:
        """The number of the store's last event."""
        return await self.services.get(WatchedStore).read(visit.caller, lambda tx: tx.events.last_seq())

    def _answering(
        self, page: Page, render: Callable[[Page, Visit, str, str | None], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            query = dict(request.query_params)
            did = query.pop("did", None)  # what was just done, for the frame
            visit = self.visit(request, dict(request.path_params), query)
            try:
                page.check(visit.query)
                return await render(page, visit, request.scope.get("root_path", ""), did)
            except WvoError as error:
                problem = error
            except Exception as error:  # an edge: an unexpected exception is logged and answered
                problem = defect(page.address, error)
            if request.url.path.endswith(".json"):
                return answer(problem)
            return self.problem(problem, visit, request.scope.get("root_path", ""))

        return endpoint

    async def _json(self, page: Page, visit: Visit, root: str, did: str | None) -> Response:
        return shown(await page.read(visit))

    async def _html(self, page: Page, visit: Visit, root: str, did: str | None) -> Response:
        # Before it is read: what happens meanwhile is newer than the page.
        seen = await self.seen(visit)
        given = variables(page, visit, await page.read(visit), root)
        picture = regions(page, given)
        html = (
            environment()
            .get_template(page.template)
            .render(
                {
                    **given,
                    **self._frame(visit),
                    "title": page.title_for(visit.path),
                    "live": {"has": digest(picture)} if page.live else None,
                    "did": _did(did),
                }
            )
        )
        return HTMLResponse(personal(html, visit.principal.csrf, seen), headers={"cache-control": "no-store"})

    def problem_of(self, request: Request, error: WvoError) -> Response:
        """The same, of a request that is no page's."""
        return self.problem(error, self.visit(request, {}, {}), request.scope.get("root_path", ""))

    def problem(self, error: WvoError, visit: Visit, root: str, back: str | None = None) -> Response:
        """An error in the place of a page; `back`: the page that the form was on."""
        given = {**self.bare(visit, root), "error": payload(error), "title": "Problem", "back": back}
        html = environment().get_template("problem.html").render(given)
        status = STATUS.get(error.code, 500)
        return HTMLResponse(personal(html, visit.principal.csrf, 0), status, {"cache-control": "no-store"})

    def bare(self, visit: Visit, root: str) -> dict[str, Any]:
        """What a template needs that is no page's."""
        nothing: dict[str, Any] = {"page": None, "query": {}, "here": "/", "live": None, "did": None}
        return {**self._frame(visit), **nothing, "me": visit, "root": root}

    def _frame(self, visit: Visit) -> dict[str, Any]:
        """What stands around each page."""
        nav = [{"name": page.nav, "address": page.address} for page in self.pages if page.nav is not None]
        return {"nav": nav, "project": self.project, "asset": address_of, "config": _HTMX}


def _did(name: str | None) -> str | None:
    """Only the name of an operation is shown, whatever the address says."""
    return name if name in ALL else None


_HTMX = json.dumps(
    {
        "includeIndicatorCSS": False,
        "history": False,
        "morphIgnore": ["data-htmx-powered", "open"],
        "sse": {"reconnectDelay": 300, "reconnectMaxDelay": 2_000, "reconnectJitter": 0.3},
    }
)
"""Tabs are right again within seconds of a restart. What a person has unfolded stays so when its row changes."""
