"""Each control of the pages, worked by mouse or by keys: what it did is in the store, with the name of who did it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Locator
from playwright.sync_api import Page as Tab

from tests.browser import hands
from tests.browser.conftest import Opened, Shop
from tests.support.workspace import REPOSITORY
from wvo_mcp.faces.http.controls import ASKED_TWICE
from wvo_mcp.orchestration.health.observe import WALKED

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-2", "DASH-3")]

MOUSE, KEYS = False, True
TEMPLATES = REPOSITORY / "wvo_mcp" / "faces" / "http" / "templates"
_CALLED = re.compile(r'\bcontrol\(me, root, here, ("?)(\w+)')
_STATUS = "SELECT status FROM tasks WHERE id = ?"
_PRIORITY = "SELECT priority FROM tasks WHERE id = ?"
_ENTRY = "SELECT state FROM merge_entries WHERE task_id = ? ORDER BY seq DESC"
_ASKED = "SELECT state FROM approvals WHERE task_id = ?"
_READ = "SELECT acked_at IS NOT NULL FROM messages WHERE message_id = ?"
_BODY = "SELECT body FROM messages WHERE to_agent = ? ORDER BY seq DESC"
_ALERT = "SELECT {} IS NOT NULL FROM alerts WHERE id = ?"
_FACT = "SELECT value FROM facts WHERE name = ?"
_ASKED_TO_STOP = "SELECT value ->> '$.by' FROM facts WHERE name LIKE ?"
_STOPPED = ("SELECT value ->> '$.stop' FROM facts WHERE name = ?", ("paused",), 1)
_RAISED = "SELECT tokens FROM budget_raises WHERE period = ?"
_WALKED = "SELECT count(*) FROM facts WHERE name = ?"


@dataclass(frozen=True)
class Act:
    """`within`: the row or region of the form; `event`: kind and task; `now`: a query of the store, what it is given, and
    what it says afterwards."""

    operation: str
    address: str
    button: str
    keys: bool
    event: tuple[str, str | None] | None
    now: tuple[str, tuple[Any, ...], Any] | None = None
    fields: dict[str, str] = field(default_factory=dict[str, str])
    within: str = "main"
    unfold: str | None = None

    def __str__(self) -> str:
        return f"{self.operation} ({self.button!r} on {self.address}, by {'keys' if self.keys else 'mouse'})"


def _task(operation: str, task: str, button: str, keys: bool, event: str, now: str, **fields: str) -> Act:
    named = {name.replace("_", " "): text for name, text in fields.items()}
    return Act(operation, f"/tasks/{task}", button, keys, (event, task), (_STATUS, (task,), now), named)


ACTS = [
    Act(
        "pause",
        "/",
        "Pause gently",
        KEYS,
        ("work.paused", None),
        (_FACT, ("paused_reason",), '"lunch"'),
        {"Reason": "lunch"},
    ),
    Act("resume", "/", "Resume", MOUSE, ("work.resumed", None), (_FACT, ("paused",), "false")),
    Act(
        "pause",
        "/workers",
        "Pause",
        MOUSE,
        ("work.paused", None),
        (_FACT, ("paused_reason",), '"tea"'),
        {"Reason": "tea"},
    ),
    Act("resume", "/workers", "Resume", KEYS, ("work.resumed", None), (_FACT, ("paused",), "false")),
    Act("stop", "/", "Stop", MOUSE, ("work.stopped", None), _STOPPED),
    Act("resume", "/", "Resume", KEYS, ("work.resumed", None), (_FACT, ("paused",), "false")),
    Act("stop", "/", "Stop", KEYS, ("work.stopped", None), _STOPPED),
    Act("resume", "/", "Resume", MOUSE, ("work.resumed", None), (_FACT, ("paused",), "false")),
    Act("health_run", "/", "Run a health cycle", KEYS, None, (_WALKED, (WALKED,), 1)),
    Act(
        "add",
        "/",
        "Add",
        KEYS,
        None,
        ("SELECT priority FROM tasks WHERE title = ?", ("By keys",), "high"),
        {"Title": "By keys", "Priority": "high"},
        unfold="Add a task",
    ),
    Act(
        "add",
        "/tasks",
        "Add",
        MOUSE,
        None,
        ("SELECT priority FROM tasks WHERE title = ?", ("By mouse",), "critical"),
        {"Title": "By mouse", "Priority": "critical"},
        unfold="Add a task",
    ),
    Act(
        "update_task",
        "/tasks?status=pending",
        "Set",
        MOUSE,
        ("task.updated", "READY"),
        (_PRIORITY, ("READY",), "low"),
        {"Priority": "low"},
        within="#task-READY",
        unfold="Reprioritise",
    ),
    Act(
        "update_task",
        "/tasks/BEHIND",
        "Set priority",
        KEYS,
        ("task.updated", "BEHIND"),
        (_PRIORITY, ("BEHIND",), "critical"),
        {"Priority": "critical"},
    ),
    _task("retry", "FAILS", "Retry", KEYS, "task.retried", "pending", Reason="it was the network"),
    _task("retry", "FAILS-2", "Retry", MOUSE, "task.retried", "pending"),
    _task("unblock", "STOPPED", "Unblock", MOUSE, "task.unblocked", "pending", Reason="answered"),
    _task("reopen", "DONE", "Reopen", KEYS, "task.reopened", "pending", Reason="not yet"),
    _task("restore", "GONE", "Restore", MOUSE, "task.restored", "pending"),
    _task("cancel", "LATER", "Cancel", KEYS, "task.cancelled", "cancelled", Reason="nobody wants it"),
    _task("cancel", "LOOSE", "Cancel", MOUSE, "task.cancelled", "cancelled"),
    Act(
        "approve",
        "/approvals",
        "Approve",
        MOUSE,
        ("approval.answered", "ASK-1"),
        (_ASKED, ("ASK-1",), "approved"),
        within="#approval-{ASK-1}",
    ),
    Act(
        "deny",
        "/approvals",
        "Deny",
        KEYS,
        ("approval.answered", "ASK-2"),
        (_ASKED, ("ASK-2",), "denied"),
        {"Reason": "not today"},
        within="#approval-{ASK-2}",
    ),
    Act(
        "answer",
        "/",
        "Answer",
        KEYS,
        None,
        (_READ, ("n-1",), 1),
        {"Answer": "the first of them"},
        within="[id^=need-n-1]",
    ),
    Act("message_ack", "/", "Seen", MOUSE, None, (_READ, ("n-2",), 1)),
    Act(
        "message",
        "/tasks/HELD",
        "Message its agent",
        MOUSE,
        ("message.sent", "HELD"),
        (_BODY, ("auto-host.HELD",), "mind the edges"),
        {"Message": "mind the edges"},
    ),
    Act(
        "alert_ack",
        "/alerts",
        "Acknowledge",
        KEYS,
        ("alert.acknowledged", "HELD"),
        (_ALERT.format("acknowledged_at"), (1,), 1),
        {"Note": "I look"},
        within="#alert-1",
    ),
    Act(
        "alert_resolve",
        "/alerts",
        "Resolve",
        MOUSE,
        ("alert.resolved", "HELD"),
        (_ALERT.format("resolved_at"), (1,), 1),
        {"Reason": "it works again"},
        within="#alert-1",
    ),
    Act(
        "alert_ack",
        "/alerts",
        "Acknowledge",
        MOUSE,
        ("alert.acknowledged", "FAILS-3"),
        (_ALERT.format("acknowledged_at"), (12,), 1),
        within="#alert-12",
    ),
    Act(
        "review",
        "/reviews",
        "Review now",
        KEYS,
        ("review.asked", "RESTS"),
        ("SELECT question FROM reviews WHERE task_id = ?", ("RESTS",), "the edges"),
        {"Task to review": "RESTS", "What to look at": "the edges"},
    ),
    Act(
        "merge_park",
        "/merge",
        "Park",
        MOUSE,
        ("merge.parked", "LANDS"),
        (_ENTRY, ("LANDS",), "parked"),
        {"Reason": "wait"},
        within="#entry-m-1",
    ),
    Act("merge_retry", "/merge/m-1", "Retry now", KEYS, ("merge.queued", "LANDS"), (_ENTRY, ("LANDS",), "queued")),
    Act(
        "merge_park",
        "/tasks/LANDS",
        "Park",
        KEYS,
        ("merge.parked", "LANDS"),
        (_ENTRY, ("LANDS",), "parked"),
        within="#entry-m-1",
    ),
    Act(
        "merge_retry",
        "/tasks/LANDS",
        "Try again",
        MOUSE,
        ("merge.queued", "LANDS"),
        (_ENTRY, ("LANDS",), "queued"),
        within="#entry-m-1",
    ),
    Act(
        "merge_revert",
        "/merge",
        "Revert",
        KEYS,
        ("merge.revert_asked", "LANDED"),
        ("SELECT kind FROM merge_entries WHERE task_id = ? ORDER BY seq DESC", ("LANDED",), "revert"),
        within="#entry-m-2",
    ),
    Act(
        "budget_raise",
        "/providers",
        "Raise",
        KEYS,
        ("budget.raised", None),
        (_RAISED, ("hour",), 500_000),
        {"More tokens for claude per hour": "500000", "For how long": "2h"},
        within=".budget:has(input[name=hourly])",
    ),
    Act(
        "budget_raise",
        "/providers",
        "Raise",
        MOUSE,
        ("budget.raised", None),
        (_RAISED, ("day",), 700_000),
        {"More tokens for claude per day": "700000"},
        within=".budget:has(input[name=daily])",
    ),
    Act(
        "routing_mode",
        "/providers",
        "Set",
        KEYS,
        ("routing.mode", None),
        (_FACT, ("routing_mode",), '"local"'),
        {"Routing mode": "local"},
    ),
    Act("auth_status", "/providers", "Check logins", MOUSE, None),
    Act(
        "worker_stop",
        "/",
        "Stop this worker",
        KEYS,
        ("worker.stop_asked", "HELD"),
        (_ASKED_TO_STOP, ("%w-1",), "ann"),
        within="#run-w-1",
    ),
    Act(
        "worker_stop",
        "/workers/w-2",
        "Stop",
        MOUSE,
        ("worker.stop_asked", "LANDS"),
        (_ASKED_TO_STOP, ("%w-2",), "ann"),
    ),
]
APART = {"workspace_rollback"}
"""With a test of their own, which sees more than one form."""


def _offered() -> Iterator[str]:
    for template in sorted(Path(TEMPLATES).glob("*.html")):
        for quote, name in _CALLED.findall(template.read_text()):
            if template.name != "ui.html" or name != "op":  # its definition
                assert quote, f"{template.name}: the operation of a control is named where it is offered"
                yield name


def test_every_control_that_a_template_offers_is_worked_in_a_browser() -> None:
    assert set(_offered()) == {one.operation for one in ACTS} | APART


def test_controls_are_worked_both_by_mouse_and_by_keys() -> None:
    asked_twice = {one.operation for one in ACTS} & ASKED_TWICE
    for operation in asked_twice - {"merge_revert"}:
        assert {one.keys for one in ACTS if one.operation == operation} == {MOUSE, KEYS}, operation


@pytest.mark.timeout(300)
def test_each_control_does_what_it_says_and_the_audit_trail_names_the_person(shop: Shop, opened: Opened) -> None:
    tab = opened(shop.at("/"), who=shop.signed_in("ann"))
    for act in ACTS:
        try:
            _done(shop, tab, act)
        except (AssertionError, Error) as problem:
            raise AssertionError(f"{act}: {tab.locator('#said').inner_text()!r}: {problem}") from problem


def _done(shop: Shop, tab: Tab, act: Act) -> None:
    before = shop.events()[-1][0]
    tab.goto(shop.at(act.address))
    tab.get_by_text("live", exact=True).wait_for()
    within = tab.locator(act.within.format(**shop.filled.approvals)).first
    if act.unfold is not None:
        hands.press(tab, within.locator("summary", has_text=act.unfold), keys=act.keys)
    form = _form(within, act)
    hands.fill(tab, form, act.fields, keys=act.keys)
    hands.press(tab, form.get_by_role("button", name=act.button, exact=True), keys=act.keys)
    if act.operation in ASKED_TWICE or form.get_attribute("data-confirm") is not None:  # so is what runs a command
        hands.confirm(tab, keys=act.keys)

    tab.locator("#said .done", has_text=f"Done: {act.operation.replace('_', ' ')}").wait_for()
    if act.event is not None:
        assert [who for who, _ in shop.told(before, *act.event)] == ["ann"], shop.events(before)
    if act.now is not None:
        query, given, wanted = act.now
        assert shop.value(query, *given) == wanted


def _form(within: Locator, act: Act) -> Locator:
    forms = within.locator(f'form[action="/do/{act.operation}"]')
    return forms.filter(has=within.page.get_by_role("button", name=act.button, exact=True)).first


@pytest.mark.requirement("WS-9")
def test_files_go_back_after_a_preview_and_the_undo_brings_them_again(shop: Shop, opened: Opened) -> None:
    """The first by mouse, its undo by keys."""
    file = Path(shop.value("SELECT path FROM workspaces WHERE task_id = 'RESTS'")) / "rests.py"
    before = shop.events()[-1][0]
    tab = opened(shop.at("/tasks/RESTS/files?checkpoint=1"), who=shop.signed_in("ann"))

    tab.get_by_role("button", name="Preview: all files as in checkpoint 1").click()
    tab.get_by_role("heading", name="Preview: nothing was changed").wait_for()
    assert "-second\n+first" in tab.locator(".diff").inner_text()
    assert (file.read_text(), shop.told(before, "workspace.rolled_back", "RESTS")) == ("second\n", [])
    tab.get_by_role("button", name="Do it").click()
    tab.locator("#said .done").wait_for()
    assert file.read_text() == "first\n"

    hands.press(tab, tab.get_by_role("button", name="Preview: undo it"), keys=KEYS)
    tab.get_by_role("heading", name="Preview: nothing was changed").wait_for()
    assert file.read_text() == "first\n"
    hands.press(tab, tab.get_by_role("button", name="Do it"), keys=KEYS)
    tab.locator("#said .done").wait_for()
    assert file.read_text() == "second\n"
    assert [who for who, _ in shop.told(before, "workspace.rolled_back", "RESTS")] == ["ann", "ann"]
