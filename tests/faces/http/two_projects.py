"""Two projects, of which one is full of a mark, and everything that a project can be asked for."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2

from tests.faces.mcp.over_http import modern
from tests.support.bench import OWNER
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.faces.http.pages import PAGES
from wvo_mcp.operations import ALL, Audience, Effect, Operation
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation
from wvo_mcp.store.sqlite.store import SqliteStore

MARK = "MARKOFBEE"
ROLES = ("viewer", "agent", "operator", "admin")
IDS = {
    "task_id": "T-B1",
    "worker_id": "w-1",
    "entry_id": "m-1",
    "review_id": "R-1",
    "id": "A-1",
    "approval_id": "A-1",
}
ANSWERED = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def plant(client: httpx2.Client) -> None:
    def call(tool: str, **given: Any) -> dict[str, Any]:
        answer = client.post(f"/p/b/api/{tool}", json=given)
        assert answer.status_code == 200, (tool, answer.text)
        return dict(answer.json())

    task = {"title": f"{MARK} title", "description": f"{MARK} text", "files": [f"src/{MARK}.py"]}
    task |= {"acceptance": [f"{MARK} criterion"], "labels": [f"{MARK}-label"], "epic_id": f"E-{MARK}"}
    call("create_tasks", tasks=[{"id": name, **task} for name in ("T-B1", "T-B2")])
    call("claim_task", task_id="T-B1")
    call("checkpoint", task_id="T-B1", summary=f"{MARK} checkpoint", files=[f"lib/{MARK}.py"])
    call("approval_request", task_id="T-B1", question=f"{MARK} question?")
    call("message_send", to="person", body=f"{MARK} message")


async def plant_work(root: Path) -> None:
    """What workers, merges, reviews and health leave, in b's store while it is served."""
    logs = root / "state" / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "w-1.log").write_text(f"{MARK} line of a log\n" * 3)
    store = SqliteStore(root / "state" / "state.db", SystemClock(), SessionLocks(root / "state" / "sessions"))
    await store.open()

    async def add(tx: Transaction) -> None:
        held = {"task_id": "T-B1", "lease_token": 1, "host": "here", "agent_id": "auto-here.1", "run_id": "r"}
        worker = {"provider": "claude", "tier": "high", "model": f"{MARK}-model", "log": str(logs / "w-1.log")}
        await tx.workers.add({**held, **worker, "reason": f"{MARK} reason"}, "a key")
        await tx.alerts.raise_alert("test", "warning", "T-B1", f"{MARK} alert")
        number = await tx.submissions.next_number("T-B1")
        entry = {"number": number, "repository": f"{MARK}-repository", "path": f"/{MARK}", "target": f"{MARK}-main"}
        await tx.submissions.add(
            {"task_id": "T-B1", "host": "here", **entry, "commit_sha": "c" * 40, "base_sha": "b" * 40}
        )
        await tx.violations.add(Violation("command", "deny", "rm", f"{MARK} command", "T-B1", "w-1"))
        review = {"task_id": "T-B1", "round": 1, "commit_sha": "c" * 40, "author": "ann", "trigger": "human"}
        await tx.reviews.add(
            {**review, "asked_by": "owner", "question": f"{MARK} review?", "candidates": [f"{MARK}-x"]}
        )

    try:
        await store.write(OWNER, add)
    finally:
        await store.close()


def given_to(op: Operation) -> dict[str, Any]:
    """What its schema asks for, so that a call is not refused for its shape alone."""
    return {name: _value(name, op.schema["properties"][name]) for name in op.schema.get("required", ())}


def _value(name: str, field: dict[str, Any]) -> Any:
    if name in IDS:
        return IDS[name]
    field = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
    simple = {"integer": max(1, field.get("minimum", 1)), "number": 1.0, "boolean": True, "object": {}}
    if "enum" in field or "const" in field:
        return field.get("const", field.get("enum", [None])[0])
    if field.get("type") == "array":
        return [_value(f"{name}[]", field.get("items", {}))]
    return simple.get(field.get("type", "string"), "T-B1")


def pages() -> list[str]:
    return [page.address.format_map(IDS) for page in PAGES]


def every_get(project: str) -> list[str]:
    """All that a project answers to a GET: its pages and their data, programs' addresses, reads of the registry."""
    root = f"/p/{project}"
    data = ["/index.json" if one == "/" else f"{one}.json" for one in pages()]
    given = [f"/api/{op.name}?{urlencode(given_to(op), doseq=True)}" for op in ALL.values() if op.effect is Effect.READ]
    others = ["/api", "/metrics", "/health", "/login", "/nothing", "/.well-known/oauth-protected-resource"]
    return [root + one for one in (*pages(), *data, *given, *others)]


def mcp_calls() -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The body and the headers of each."""
    calls = [modern("tools/list"), modern("resources/list")]
    calls += [modern("resources/read", uri, uri=uri) for uri in ("wvo://status", "wvo://task/T-B1")]
    calls += [
        modern("tools/call", op.name, arguments=given_to(op))
        for op in ALL.values()
        if op.effect is Effect.READ and op.audience is not Audience.PEOPLE
    ]
    return [(body, {**ANSWERED, **headers, "wvo-toolsets": "all"}) for body, headers in calls]
