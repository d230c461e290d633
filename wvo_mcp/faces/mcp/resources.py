"""The resources: the state of work, a task, a topic and the directives, each at a URI of its own."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import quote, unquote

import mcp_types as types
from mcp import MCPError

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.operations import ALL, Container
from wvo_mcp.operations.results import compact, defect, payload
from wvo_mcp.ports import Directives

STATUS = "wvo://status"
JSON = "application/json"
MARKDOWN = "text/markdown"


class _Template(NamedTuple):
    """A family of resources: `operation` gives the content, with what stands in the URI as its `argument`."""

    uri: str
    title: str
    description: str
    operation: str
    argument: str


_TEMPLATES = {
    "task": _Template(
        "wvo://task/{id}",
        "Task",
        "A task with its dependencies, checkpoints and last events.",
        "get_task",
        "task_id",
    ),
    "context": _Template(
        "wvo://context/{topic}",
        "Topic",
        "What agents wrote about a topic, newest version first.",
        "context_read",
        "topic",
    ),
}
_DIRECTIVE = "wvo://directive/{name}"


def listed(services: Container) -> list[types.Resource]:
    directives = [
        types.Resource(
            uri=f"wvo://directive/{name}",
            name=name,
            title=f"Directive: {name.replace('-', ' ')}",
            description="Standing advice for agents in this workspace.",
            mime_type=MARKDOWN,
        )
        for name in services.get(Directives).names()
    ]
    status = types.Resource(
        uri=STATUS,
        name="status",
        title="State of work",
        description="Counts per status, who works on what, alerts.",
        mime_type=JSON,
    )
    return [status, *directives]


def templates() -> list[types.ResourceTemplate]:
    by_operation = [
        types.ResourceTemplate(
            uri_template=template.uri,
            name=name,
            title=template.title,
            description=template.description,
            mime_type=JSON,
        )
        for name, template in _TEMPLATES.items()
    ]
    directive = types.ResourceTemplate(
        uri_template=_DIRECTIVE,
        name="directive",
        title="Directive",
        description="Standing advice for agents, such as error-recovery.",
        mime_type=MARKDOWN,
    )
    return [*by_operation, directive]


async def read(services: Container, caller: Caller, uri: str) -> types.ReadResourceResult:
    """Raises MCPError: invalid params for what does not exist, with near matches; internal error for the rest."""
    try:
        text, mime_type = await _content(services, caller, uri)
    except WvoError as error:
        raise _refused(uri, error) from None
    except Exception as error:  # an edge: what nobody foresaw is logged and answered, not passed on
        raise _refused(uri, defect(uri, error)) from None
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)])


async def _content(services: Container, caller: Caller, uri: str) -> tuple[str, str]:
    if uri == STATUS:
        return compact(await ALL["status"](services, caller, {})), JSON
    scheme, _, path = uri.partition("://")
    family, _, rest = path.partition("/")
    wanted = unquote(rest)
    if scheme == "wvo" and wanted:
        if family == "directive":
            return services.get(Directives).read(wanted), MARKDOWN
        if family in _TEMPLATES:
            template = _TEMPLATES[family]
            return compact(await ALL[template.operation](services, caller, {template.argument: wanted})), JSON
    known = [STATUS, *(template.uri for template in _TEMPLATES.values()), _DIRECTIVE]
    shapes: Mapping[str, str] = {shape.partition("{")[0]: shape for shape in known}
    head = f"{scheme}://{family}" + ("/" if rest else "")
    near = [shapes[match] for match in get_close_matches(head, shapes, n=3, cutoff=0.5)] or known
    raise NotFound("resource", uri, near, field="uri")


def _refused(uri: str, error: WvoError) -> MCPError:
    code = types.INVALID_PARAMS if isinstance(error, NotFound | InvalidInput) else types.INTERNAL_ERROR
    shown = payload(error)
    if isinstance(error, NotFound) and error.details.get("kind") == "directive":
        shown["details"]["near"] = [f"wvo://directive/{quote(name)}" for name in error.details["near"]]
    return MCPError(code, f"{shown['code']}: {shown['message']}", {"uri": uri, "error": shown})
