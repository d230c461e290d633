"""What people do on pages: `POST /do/OPERATION` with a form."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wvo_mcp.domain.access import Via
from wvo_mcp.domain.approval import Approval, ApprovalKind
from wvo_mcp.errors import Forbidden, InvalidInput, NotFound, WvoError
from wvo_mcp.faces.http.guard import STATUS
from wvo_mcp.faces.http.pages.page import Visit
from wvo_mcp.faces.http.pages.rendering import environment, personal
from wvo_mcp.faces.http.pages.serving import Pages
from wvo_mcp.faces.http.seen import still_as_seen
from wvo_mcp.operations import ALL, Effect, Operation
from wvo_mcp.operations.inputs import DryRun
from wvo_mcp.operations.results import defect, payload
from wvo_mcp.ports import Transaction, WatchedStore

ASKED_TWICE = frozenset(
    {
        "budget_raise",
        "cancel",
        "merge_park",
        "merge_revert",
        "pause",
        "stop",
        "token_revoke",
        "worker_stop",
        "workspace_rollback",
    }
)
"""What cannot be undone, or touches work that goes on."""
RUN_ONCE_APPROVED = frozenset({ApprovalKind.COMMAND, ApprovalKind.FLOW_STEP})
"""Approvals that are asked twice too: what they allow runs at once. What lands by another can be reverted, a budget ends by
itself, a task can be cancelled, and an answer is typed."""
OWN_FIELDS = frozenset({"csrf", "seen", "seen_task", "confirmed", "back"})
"""Of the form itself; the others are the operation's."""

Form = dict[str, list[str]]


class Controls:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def answer(self, request: Request) -> Response:
        """With htmx a line for the page that asked; else the way back to it, or a page."""
        visit = await self._pages.actor(request)
        root = request.scope.get("root_path", "")
        name = request.path_params["operation"]
        partial_page = "hx-request" in request.headers
        form: Form = {}
        try:
            form = await _form(request)
            op = _operation(name)
            _check_signed_in(visit)
            visit.caller.admit(op.remote_role, op.name)
            tried = _is_trial(op, form)
            if not tried and _one(form, "confirmed") != "yes":
                runs = await _runs(visit, form) if op.name == "approve" else None
                if runs is not None or op.name in ASKED_TWICE:
                    return self._asked(op, form, visit, root, runs=runs)
            result = await self._done(op, form, visit)
            if tried:
                return self._asked(op, form, visit, root, result)
        except WvoError as error:
            problem = error
        except Exception as error:  # an edge: an unexpected exception is logged and answered
            problem = defect(name, error)
        else:
            if partial_page:
                return self._line(visit, root, {"did": op, "result": result, "error": None})
            back = _back(form)
            return RedirectResponse(f"{root}{back}{'&' if '?' in back else '?'}did={op.name}", 303)
        if partial_page:
            shown = {"did": None, "result": None, "error": payload(problem)}
            return self._line(visit, root, shown, STATUS.get(problem.code, 500))
        return self._pages.problem(problem, visit, root, _back(form))

    async def _done(self, op: Operation, form: Form, visit: Visit) -> Mapping[str, Any]:
        first = still_as_seen(op.name, partial(_one, form))
        given = {name: _value(op, name, values) for name, values in form.items() if name not in OWN_FIELDS}
        return await op(visit.services, visit.caller, {k: v for k, v in given.items() if v is not None}, first=first)

    def _asked(
        self,
        op: Operation,
        form: Form,
        visit: Visit,
        root: str,
        tried: Mapping[str, Any] | None = None,
        runs: str | None = None,
    ) -> Response:
        """The page that asks once more, where no script did, or after a trial, with what came of that."""
        left_out = ("csrf", "confirmed", "dry_run")
        fields = [(name, value) for name, values in form.items() if name not in left_out for value in values]
        given = {"op": op, "fields": fields, "back": _back(form), "tried": tried, "runs": runs}
        return HTMLResponse(self._rendered("confirm.html", visit, root, {**given, "title": op.name.replace("_", " ")}))

    def _line(self, visit: Visit, root: str, given: Mapping[str, Any], status: int = 200) -> Response:
        return HTMLResponse(self._rendered("said.html", visit, root, given), status)

    def _rendered(self, template: str, visit: Visit, root: str, given: Mapping[str, Any]) -> str:
        values = {**self._pages.bare(visit, root), **given}
        return personal(environment().get_template(template).render(values), visit.principal.csrf, 0)


async def _runs(visit: Visit, form: Form) -> str | None:
    """What runs once this is approved, and cannot be taken back by anything here; None for all other approvals."""
    known = _one(form, "id") or _one(form, "task_id") or ""

    async def read(tx: Transaction) -> Approval | None:
        found = await tx.approvals.find(known)
        return found or next(iter(await tx.approvals.open_of_task(known)), None)

    asked = await visit.services.get(WatchedStore).read(visit.caller, read)
    return asked.about if asked is not None and asked.kind in RUN_ONCE_APPROVED else None


def _is_trial(op: Operation, form: Form) -> bool:
    return issubclass(op.input_model, DryRun) and _one(form, "dry_run") == "true"


def _operation(name: str) -> Operation:
    op = ALL.get(name)
    if op is None or op.effect is Effect.READ:
        raise NotFound("control", name[:100], hint="Go back to the page and try again.")
    return op


def _check_signed_in(visit: Visit) -> None:
    """Also before the role is judged: who is not signed in is shown how to."""
    if visit.principal.via is Via.LOOPBACK:
        raise Forbidden("Nobody is signed in here: this page can only be read.", hint="Run wvo-mcp login-link.")


async def _form(request: Request) -> Form:
    """Raises InvalidInput."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput("Content-Type", "a form is application/x-www-form-urlencoded")
    try:
        return parse_qs(
            (await request.body()).decode("ascii"), keep_blank_values=True, max_num_fields=200, errors="strict"
        )
    except ValueError:
        raise InvalidInput("body", "it is a form in UTF-8 with at most 200 fields") from None


def _one(form: Form, name: str) -> str | None:
    values = form.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise InvalidInput(name, "is given more than once")
    return values[0]


def _value(op: Operation, name: str, values: list[str]) -> Any:
    """An empty field is one that was left out; a list is repeated."""
    field = op.input_model.model_fields.get(name)
    if field is not None and op.input_model.model_json_schema()["properties"][name].get("type") == "array":
        return [value for value in values if value]
    if len(values) > 1:
        raise InvalidInput(name, "is given more than once")
    text = values[0].replace("\r\n", "\n")
    return text or None


def _back(form: Form) -> str:
    """A page of ours, whatever the form says."""
    back = _one(form, "back") or "/"
    local = back.startswith("/") and not back.startswith(("//", "/\\"))
    return quote(back, safe="/?&=%-._~") if local else "/"
