"""Workers: what each does and why it waits, what it used, and what its program says, as it says it."""

from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_PAGE = 50
_LINES = 200
_PARTS = 12
_EVERY_SECONDS = 0.5
_NO_PROCESS = ("limited", "waiting_approval", "paused", "ended")


async def log_end(visit: Visit, worker_id: str, most: int, *, raw: bool = False) -> Data | None:
    """The last lines of a log: {lines, next_after, problem}; None where nothing was printed, or it is on another host."""
    lines: list[str] = []
    after: int | None = None
    try:
        for _ in range(_PARTS):  # a part is at most 64 KB, and begins so far before the end
            page = await visit.ask("worker_log", worker_id=worker_id, after=after, raw=raw or None)
            lines = [*lines, *page["lines"]][-most:]
            after = page["next_after"]
            if not page["more"]:
                break
    except NotFound:
        return None if after is None else {"lines": lines, "next_after": after}
    return {"lines": lines, "next_after": after}


async def _workers(visit: Visit) -> Data:
    task_id, cursor = visit.filter("task_id"), visit.filter("cursor")
    found = await visit.ask("workers", limit=_PAGE, task_id=task_id, cursor=cursor)
    back = await visit.ask("recoveries", limit=5, task_id=task_id)
    return {**found, "recoveries": back["recoveries"]}


async def _worker(visit: Visit) -> Data:
    """{worker, log: {lines, next_after, from, more} or null, raw}"""
    worker_id, after = visit.path["worker_id"], visit.filter("after")
    shown = await visit.ask("worker_show", worker_id=worker_id)
    mode = visit.filter("log") or "readable"
    if mode not in ("readable", "raw"):
        raise InvalidInput("log", "readable or raw")
    raw = mode == "raw"
    data: Data = {**shown, "raw": raw, "log": None}
    if after is None:
        log = await log_end(visit, shown["worker"]["worker_id"], _LINES, raw=raw)
        data["log"] = None if log is None else {**log, "more": False}
        return data
    try:
        page = await visit.ask("worker_log", worker_id=shown["worker"]["worker_id"], after=after, raw=raw or None)
    except NotFound:
        return data
    return {
        **data,
        "log": {"lines": page["lines"], "next_after": page["next_after"], "more": page["more"], "from": after},
    }


def _while_it_runs(data: Data) -> float | None:
    """Its log grows in a file; the store tells nothing of that."""
    return None if data["worker"]["state"] in _NO_PROCESS else _EVERY_SECONDS


async def _recoveries(visit: Visit) -> Data:
    task_id = visit.filter("task_id")
    mended = await visit.ask("recoveries", task_id=task_id, limit=_PAGE, cursor=visit.filter("cursor"))
    refused = await visit.ask("violations", task_id=task_id, limit=_PAGE, cursor=visit.filter("refused"))
    return {
        "recoveries": mended["recoveries"],
        "next_cursor": mended.get("next_cursor"),
        "violations": refused["violations"],
        "next_refused": refused.get("next_cursor"),
    }


WORKERS = Page("/workers", "workers.html", "Workers", _workers, nav="Workers", query=frozenset({"task_id", "cursor"}))
WORKER = Page(
    "/workers/{worker_id}",
    "worker.html",
    "Worker",
    _worker,
    query=frozenset({"log", "after"}),
    every=_while_it_runs,
)
RECOVERIES = Page(
    "/recoveries",
    "recoveries.html",
    "Recoveries and refusals",
    _recoveries,
    query=frozenset({"task_id", "cursor", "refused"}),
)
