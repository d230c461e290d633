"""What changes, as it happens: `/stream`. Pages are sent what differs from what they show; programs are sent the events."""

import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wvo_mcp.domain.access import Principal, Via, most_streams
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import InvalidInput, StoreBusy, WvoError
from wvo_mcp.faces.http.api import principal_of
from wvo_mcp.faces.http.guard import answer, no_page
from wvo_mcp.faces.http.pages.page import Page, Visit
from wvo_mcp.faces.http.pages.rendering import Picture, difference, digest, personal, regions, variables
from wvo_mcp.faces.http.pages.serving import Pages
from wvo_mcp.operations import ALL
from wvo_mcp.operations.results import compact, defect, payload
from wvo_mcp.orchestration.restored import gone_back
from wvo_mcp.ports import WatchedStore

Row = dict[str, Any]
Holds = Callable[[Principal], Awaitable[bool]]
"""Does what admitted it still do so?"""

MOST = 250
"""Streams at once."""
BREATH_SECONDS = 0.25
"""Between two messages to one client."""
HEARTBEAT_SECONDS = 15.0
LIFE_SECONDS = 600.0
"""Then a stream ends, and its client, which comes back, is asked again who it is."""
_LOOK_SECONDS = 5.0
_WITHIN_SECONDS = 0.2
"""So much later than others they hear of a change: looking costs, also when nothing happens."""
_AWAY_SECONDS = 1.0
"""Between two looks at a store that cannot be reached."""
_SHARE = 10
"""A view that takes long to read is read the less often: at most this part of the time."""
_SLOWEST_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long a client may take to read what it was sent."""
_PAGE = 200
_PAGES_KEPT = 32
"""Pages of events that are read once for all."""
_BEAT = ": still here\n\n"

_log = logging.getLogger("wvo_mcp.http")


class View:
    """One address as one role sees it, read once for all the tabs that show it: regions depend on nothing else."""

    def __init__(self, pages: Pages, page: Page, visit: Visit, root: str) -> None:
        self._pages, self._page, self._visit, self._root = pages, page, visit, root
        self._reading = anyio.Lock()
        self._generation = -1
        self.picture: Picture = {}
        self.seen = 0
        self.pause = BREATH_SECONDS
        """Until it may be read again."""
        self.every: float | None = None
        """So old it may be, though the store is as before."""
        self._read_at = 0.0
        self.tabs = 0

    async def read(self, generation: int) -> None:
        """What it shows is not older than this change, nor than it may be. Raises the errors of the page."""
        async with self._reading:
            began = anyio.current_time()
            fresh = self.every is None or began - self._read_at < self.every
            if self._generation >= generation and fresh:
                return
            seen = await self._pages.seen(self._visit)
            data = await self._page.read(self._visit)
            self._read_at, self.every = began, None if self._page.every is None else self._page.every(data)
            now = regions(self._page, variables(self._page, self._visit, data, self._root))
            # What is equal stays the same object, so that tabs compare it at once.
            same = {name: old for name, old in self.picture.items() if name in now and old.html == now[name].html}
            self.picture, self.seen, self._generation = {**now, **same}, seen, generation
            took = anyio.current_time() - began
            self.pause = max(BREATH_SECONDS, min(_SLOWEST_SECONDS, took * _SHARE))


class Streams:
    """All streams of one project."""

    def __init__(self, pages: Pages, holds: Holds) -> None:
        self._pages = pages
        self._holds = holds
        self._store = pages.services.get(WatchedStore)
        self._views: dict[tuple[str, str, int], View] = {}
        self._generation = 0
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self._closed = False
        self._events: dict[int, Row] = {}
        """Pages of events by what they come after, as they are now: most programs wait for the same ones."""
        self._reading = anyio.Lock()
        self._open = Counter[str]()
        """By whose share they take."""

    @property
    def open(self) -> int:
        return self._open.total()

    async def run(self) -> None:
        """Watches the store until cancelled, while there are streams."""
        while True:
            if not self.open:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            try:
                changed = await self._store.wait_for_change(_LOOK_SECONDS, within=_WITHIN_SECONDS)
            except WvoError as error:  # each stream says so, and the next look that succeeds sends what changed
                _log.warning("changes are not seen: %s", error.message)
                changed = True
                await anyio.sleep(_AWAY_SECONDS)
            if changed:
                self._wake()

    def close(self) -> None:
        """Ends every stream: the server is about to stop."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._generation += 1
        self._events.clear()
        self._changed.set()
        self._changed = anyio.Event()

    async def answer(self, request: Request) -> Response:
        """`page` and `has` as the page wrote them; without `page`, the events after `Last-Event-ID`, or from now on."""
        principal = principal_of(request.scope)
        kept = False
        try:
            self._take(principal)
        except WvoError as error:
            return answer(error)
        try:
            messages = await self._begun(request)
            kept = request.method != "HEAD"
        except WvoError as error:
            return answer(error)
        except Exception as error:  # an edge: an unexpected exception is logged and answered
            return answer(defect("/stream", error))
        finally:
            if not kept:
                self._ended(principal.share)
        if not kept:
            return Response(media_type="text/event-stream")
        return _Stream(self._while_held(principal, messages), partial(self._ended, principal.share))

    def _take(self, principal: Principal) -> None:
        """Before anything is awaited, so that many at once are not all let in. Raises StoreBusy."""
        hint = "Close a tab, or try again."
        if self._closed or self.open >= MOST:
            raise StoreBusy(f"{self.open} streams are open: no more are served.", hint=hint)
        own = self._open[principal.share]
        if own >= most_streams(principal):
            who = "all who show nothing" if principal.via is Via.LOOPBACK else "this token or session"
            raise StoreBusy(f"{own} streams of {who} are open: no more are served.", hint=hint)
        self._open[principal.share] += 1
        self._wanted.set()

    async def _while_held(self, principal: Principal, messages: AsyncGenerator[str]) -> AsyncGenerator[str]:
        """Until what admitted it is revoked or has ended; asked at each heartbeat at the latest."""
        asked_at = anyio.current_time()
        async with aclosing(messages):
            async for message in messages:
                if anyio.current_time() - asked_at >= HEARTBEAT_SECONDS:
                    asked_at = anyio.current_time()
                    with suppress(WvoError):  # a store that is away revokes nothing
                        if not await self._holds(principal):
                            return
                yield message

    def _ended(self, share: str) -> None:
        self._open[share] -= 1
        if not self._open[share]:
            del self._open[share]

    async def _begun(self, request: Request) -> AsyncGenerator[str]:
        wanted = request.query_params.get("page")
        last = _number("Last-Event-ID", request.headers.get("last-event-id"))
        if wanted is None:
            visit = self._pages.visit(request, {}, {})
            visit.caller.admit(ALL["events"].role, "events")
            after = last if last is not None else _number("after", request.query_params.get("after"))
            return self._all_events(visit, after if after is not None else await self._pages.seen(visit))
        page, path, query = self._named(wanted)
        page.check(query)
        visit = self._pages.visit(request, path, query)
        root = request.scope.get("root_path", "")
        # A tab that comes back shows nobody knows what.
        return self._regions(page, visit, wanted, root, None if last is not None else request.query_params.get("has"))

    def _named(self, address: str) -> tuple[Page, dict[str, str], dict[str, str]]:
        """Raises NotFound."""
        try:
            parts = urlsplit(address)
        except ValueError:  # the brackets of a host that is none
            raise no_page(address) from None
        if parts.scheme or parts.netloc:
            raise no_page(address)
        for page in self._pages.pages:
            path = _matched(page.address, parts.path)
            if path is not None and page.live:
                return page, path, dict(parse_qsl(parts.query))
        raise no_page(address)

    async def _regions(self, page: Page, visit: Visit, address: str, root: str, has: str | None) -> AsyncGenerator[str]:
        key = (address, root, int(visit.principal.role))
        view = self._views.setdefault(key, View(self._pages, page, visit, root))
        view.tabs += 1
        shown: Picture | None = None
        seen = -1
        try:
            async for generation in self._beats(lambda: view.every):
                if generation is None:
                    yield _BEAT
                    continue
                try:
                    await view.read(generation)
                except WvoError as error:
                    yield f"event: problem\ndata: {compact(payload(error))}\n\n"
                    continue
                if shown is None and has == digest(view.picture):
                    shown = view.picture
                html = personal(difference(shown, view.picture), visit.principal.csrf, view.seen)
                if html:
                    yield _message(html, view.seen)
                elif view.seen != seen:
                    yield f"id: {view.seen}\nevent: seen\ndata: {view.seen}\n\n"
                shown, seen = view.picture, view.seen
                await anyio.sleep(view.pause)
        finally:
            view.tabs -= 1
            if view.tabs == 0 and self._views.get(key) is view:
                del self._views[key]

    async def _all_events(self, visit: Visit, after: int) -> AsyncGenerator[str]:
        until = anyio.current_time() + LIFE_SECONDS
        yield f"id: {after}\nevent: begin\ndata: {after}\n\n"
        async for generation in self._beats():
            if generation is None:
                yield _BEAT
                continue
            more = True
            while more and not self._closed and anyio.current_time() < until:
                try:
                    page = await self._after(visit.caller, after)
                except WvoError as error:  # the next change is tried
                    yield f"event: problem\ndata: {compact(payload(error))}\n\n"
                    break
                after, more = page["next_after"], page["more"]
                if "reset" in page:
                    yield f"id: {after}\nevent: reset\ndata: {after}\n\n"
                yield "".join(f"id: {one['seq']}\nevent: event\ndata: {compact(one)}\n\n" for one in page["events"])
            await anyio.sleep(BREATH_SECONDS)

    async def _after(self, caller: Caller, after: int) -> Row:
        async with self._reading:
            found: Row | None = self._events.get(after)
            if found is None:
                generation = self._generation
                found = await ALL["events"](self._pages.services, caller, {"after": after, "limit": _PAGE})
                back = None if found["events"] else await self._store.read(caller, partial(gone_back, after=after))
                if back is not None:
                    found = Row(events=[], next_after=back, more=True, reset=True)
                if generation == self._generation:
                    self._events[after] = found
                    while len(self._events) > _PAGES_KEPT:
                        self._events.pop(next(iter(self._events)))
            return found

    async def _beats(self, every: Callable[[], float | None] = lambda: None) -> AsyncGenerator[int | None]:
        """The number of each change, the first at once, and again after `every` seconds; None now and then, so that whoever is
        between hears that it lives. Ends with its life."""
        until = anyio.current_time() + LIFE_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311 - so that not all end at once
        told, said = -1, anyio.current_time()
        while not self._closed and anyio.current_time() < until:
            if told == self._generation:
                changed, again = self._changed, every()
                left = said + HEARTBEAT_SECONDS - anyio.current_time()
                with anyio.move_on_after(left if again is None else min(again, left)):
                    await changed.wait()
            else:
                again = None
            if told != self._generation or again is not None:
                told = self._generation
                yield told
            if anyio.current_time() - said >= HEARTBEAT_SECONDS:
                said = anyio.current_time()
                yield None


class _Stream(Response):
    """Sends messages until they end, the client goes, or it does not take one for too long."""

    def __init__(self, messages: AsyncGenerator[str], on_end: Callable[[], None]) -> None:
        super().__init__(
            headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type="text/event-stream"
        )
        del self.headers["content-length"]
        self._messages, self._on_end = messages, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group, aclosing(self._messages) as messages:

                async def until_gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(until_gone)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for text in messages:
                    with anyio.fail_after(PATIENCE_SECONDS):
                        await send(
                            {"type": "http.response.body", "body": text.encode(errors="replace"), "more_body": True}
                        )
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                group.cancel_scope.cancel()
        except* TimeoutError:
            _log.info("a stream was not read for %g s: closed", PATIENCE_SECONDS)
        finally:
            self._on_end()


def _message(html: str, seen: int) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {seen}\n{lines}\n"


def _number(name: str, text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput(name, "the number of an event")
    return int(text)


def _matched(pattern: str, address: str) -> dict[str, str] | None:
    """The named parts of an address, or None where it is another page's."""
    wanted, given = pattern.split("/"), address.split("/")
    if len(wanted) != len(given):
        return None
    found: dict[str, str] = {}
    for part, text in zip(wanted, given, strict=True):
        if part.startswith("{") and text:
            found[part[1:-1]] = unquote(text)
        elif part != text:
            return None
    return found
