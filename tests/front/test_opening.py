"""The opening answers what the SDK would answer, and leaves to it what it does not surely know."""

import copy
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from tests.faces.mcp.served import Answer, a_face, a_server, nothing, served
from tests.front.peer import (
    CLIENT,
    ENVELOPE,
    INITIALIZED,
    PATIENCE,
    PREFIX,
    Message,
    Peer,
    initialize,
    modern,
    peer,
    recorded,
    request,
)
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import NotFound
from wvo_mcp.faces.mcp.sdk import NOTIFIES
from wvo_mcp.front.opening import Opening, Record

pytestmark = pytest.mark.anyio

LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]


@pytest.fixture
def line() -> Iterator[Peer]:
    with peer() as here:
        yield here


@pytest.fixture
def opening() -> Opening:
    return Opening(Record(recorded(), None))


def opened(opening: Opening, first: Message) -> Message | None:
    opening.begin(first)
    return opening.answer(first)


@asynccontextmanager
async def the_sdk(root: Path, answer: Answer = nothing) -> AsyncGenerator[Any]:
    """Ask the SDK without a wire: a function from a request to its answer."""
    server = a_server(root, answer)
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](10)

    async def ask(message: Message) -> Message:
        await to_server.send(SessionMessage(types.jsonrpc_message_adapter.validate_python(message, by_name=False)))
        answer = (await from_server.receive()).message
        return answer.model_dump(mode="json", by_alias=True, exclude_unset=True)

    async with anyio.create_task_group() as group, to_server, from_server:
        group.start_soon(server.run, from_client, to_client, server.create_initialization_options(NOTIFIES))
        yield ask
        group.cancel_scope.cancel()


@pytest.mark.requirement("CORE-2")
@pytest.mark.parametrize("version", [*HANDSHAKE_PROTOCOL_VERSIONS, "2026-07-28", "1999-01-01", "next"])
async def test_every_handshake_is_answered_as_by_the_sdk(line: Peer, tmp_path: Path, version: str) -> None:
    asked = [initialize(0, version), *(request(number, method) for number, method in enumerate([*LISTS, "ping"], 1))]
    line.says(*asked)
    async with the_sdk(tmp_path) as ask:
        for message in asked:
            assert line.hears() == await ask(message)


@pytest.mark.requirement("CORE-2")
async def test_the_modern_era_is_answered_as_by_the_sdk(line: Peer, tmp_path: Path) -> None:
    asked = [modern(number, method) for number, method in enumerate(["server/discover", *LISTS, "ping"])]
    line.says(*asked)
    async with the_sdk(tmp_path) as ask:
        for message in asked:
            assert line.hears() == await ask(message)


@pytest.mark.requirement("CORE-2")
@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_lists_are_the_same_before_and_after_the_handover(line: Peer, tmp_path: Path, era: str) -> None:
    if era == "handshake":
        line.says(initialize("hello"), INITIALIZED)
        asked = [request(method, method) for method in LISTS]
    else:
        line.says(modern("hello", "server/discover"))
        asked = [modern(method, method) for method in LISTS]
    line.says(*asked)
    line.hears_only("hello")
    before = [line.hears() for _ in asked]

    async with served(line, a_face(tmp_path)):
        after: list[Message] = []
        for message in asked:
            line.says(message)
            after += await line.heard()
    assert after == before


@pytest.mark.requirement("CORE-2")
async def test_the_era_of_the_first_request_is_kept_by_the_sdk(line: Peer, tmp_path: Path) -> None:
    line.says(modern(1, "server/discover"), initialize(2))
    line.hears_only(1)
    async with served(line, a_face(tmp_path)):
        refused = (await line.heard())[0]
    assert refused["id"] == 2
    assert refused["error"]["code"] == -32022


async def test_an_enveloped_request_is_refused_after_a_handshake(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(0), INITIALIZED, modern(1, "tools/list"))
    line.hears_only(0)
    async with served(line, a_face(tmp_path)):
        refused = (await line.heard())[0]
    assert refused["id"] == 1
    assert refused["error"]["code"] == -32600


async def test_a_second_handshake_is_left_to_the_sdk(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(0, "2025-06-18"), initialize(1, "2024-11-05"), request(2, "ping"))
    line.hears_only(0)
    line.hears_only(2)
    async with served(line, a_face(tmp_path)):
        again = (await line.heard())[0]
    assert again["result"]["protocolVersion"] == "2024-11-05"


async def test_a_list_before_the_handshake_is_refused_by_the_sdk(line: Peer, tmp_path: Path) -> None:
    line.says(request(1, "tools/list"))
    async with served(line, a_face(tmp_path)):
        assert (await line.heard())[0]["error"]["code"] == -32602


def test_a_ping_needs_no_handshake(line: Peer) -> None:
    line.says(request(1, "ping"), initialize(2))

    assert line.hears_only(1)["result"] == {}
    assert line.hears_only(2)["result"]["protocolVersion"] == "2025-11-25"


def hello(**changes: Any) -> Message:
    params: Message = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT, **changes}
    return request(0, "initialize", {name: value for name, value in params.items() if value != "left out"})


ICON = {"src": "data:image/png;base64,AA==", "mimeType": "image/png", "sizes": ["48x48"], "theme": "dark"}
REAL_HELLOS = [
    hello(capabilities={"roots": {"listChanged": True}, "elicitation": {}, "sampling": {"tools": {}}}),
    hello(capabilities={"elicitation": {"form": {}, "url": {}}, "experimental": {"x": {"y": 1}}, "own": 5}),
    hello(capabilities={"tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}}}),
    hello(clientInfo={**CLIENT, "title": "T", "websiteUrl": "https://x.example", "icons": [ICON], "own": []}),
    hello(clientInfo={**CLIENT, "title": None}, _meta={"progressToken": 7, "own": 1}),
]
ODD_HELLOS = [
    request(0, "initialize"),
    request(0, "initialize", {}),
    *(hello(**{name: "left out"}) for name in ("protocolVersion", "capabilities", "clientInfo")),
    *(hello(protocolVersion=value) for value in (None, 5, True, [], {})),
    *(hello(capabilities=value) for value in (None, [], "x", {"roots": []}, {"roots": {"listChanged": 1}})),
    *(hello(capabilities=value) for value in ({"experimental": {"x": None}}, {"sampling": {"tools": 1}})),
    *(
        hello(capabilities={"tasks": value})
        for value in ({"list": 1}, {"requests": {"sampling": {"createMessage": 1}}})
    ),
    *(hello(clientInfo=value) for value in (None, [], {"name": "x"}, {"name": 1, "version": "1"})),
    *(hello(clientInfo={**CLIENT, "icons": value}) for value in ([{}], "x", [{**ICON, "theme": "blue"}], [None])),
    *(hello(_meta=value) for value in ([], "x", 0, {"progressToken": True}, {"progressToken": 1.5})),
    hello(_meta=ENVELOPE),
]


@pytest.mark.parametrize("message", REAL_HELLOS, ids=range(len(REAL_HELLOS)))
def test_the_handshakes_of_real_clients_are_answered_at_once(opening: Opening, message: Message) -> None:
    assert opened(opening, message) is not None


@pytest.mark.parametrize("message", [*REAL_HELLOS, *ODD_HELLOS], ids=range(len(REAL_HELLOS) + len(ODD_HELLOS)))
async def test_no_handshake_is_accepted_that_the_sdk_refuses(
    opening: Opening, tmp_path: Path, message: Message
) -> None:
    answer = opened(opening, message)
    async with the_sdk(tmp_path) as ask:
        verdict = await ask(message)

    assert answer is None or {"jsonrpc": "2.0", "id": 0, **answer} == verdict


def enveloped(**changes: Any) -> Message:
    meta = {**ENVELOPE, **{PREFIX + name: value for name, value in changes.items()}}
    return request(1, "tools/list", {"_meta": {name: value for name, value in meta.items() if value != "left out"}})


ENVELOPES = [
    enveloped(logLevel="debug"),
    enveloped(logLevel="loud"),
    enveloped(clientInfo="left out"),
    enveloped(clientInfo=None),
    enveloped(clientInfo={"name": "x"}),
    enveloped(clientInfo="x"),
    enveloped(clientCapabilities="left out"),
    enveloped(clientCapabilities=None),
    enveloped(clientCapabilities={"roots": {}, "extensions": {"x/y": {}}}),
    enveloped(clientCapabilities={"extensions": {"x/y": 1}}),
    enveloped(clientCapabilities={"roots": 5}),
    enveloped(protocolVersion=None),
    enveloped(protocolVersion=5),
    enveloped(protocolVersion="2030-01-01"),
    enveloped(protocolVersion="2025-11-25"),
    request(1, "tools/list", {"_meta": {**ENVELOPE, "progressToken": "p"}}),
    request(1, "tools/list", {"_meta": {**ENVELOPE, "progressToken": []}}),
    request(1, "tools/list", {"_meta": ENVELOPE, "cursor": "c"}),
    request(1, "tools/list", {"_meta": ENVELOPE, "cursor": 5}),
    request(1, "server/discover", {"_meta": ENVELOPE, "own": 1}),
]


@pytest.mark.parametrize("message", ENVELOPES, ids=range(len(ENVELOPES)))
async def test_no_envelope_is_accepted_that_the_sdk_refuses(opening: Opening, tmp_path: Path, message: Message) -> None:
    answer = opened(opening, message)
    async with the_sdk(tmp_path) as ask:
        verdict = await ask(message)

    assert answer is None or {"jsonrpc": "2.0", "id": 1, **answer} == verdict


async def test_a_subscription_is_acknowledged_at_once_and_only_once(line: Peer, tmp_path: Path) -> None:
    wanted = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["wvo://status"]}
    line.says(modern(7, "subscriptions/listen", notifications=wanted))
    early = line.hears()
    async with served(line, a_face(tmp_path)):
        line.says(modern(8, "subscriptions/listen", notifications=wanted))
        late = (await line.heard())[0]
        line.says(modern(9, "tools/list"))
        assert (await line.heard())[0]["id"] == 9

    expected = copy.deepcopy(late)
    expected["params"]["_meta"][f"{PREFIX}subscriptionId"] = 7
    assert early == expected


async def test_subscriptions_end_with_a_result_when_the_client_closes(line: Peer, tmp_path: Path) -> None:
    line.says(modern(7, "subscriptions/listen", notifications={"toolsListChanged": True}))
    line.hears()
    with anyio.fail_after(PATIENCE):
        async with served(line, a_face(tmp_path)):
            line.stops_talking()
            ended = (await line.heard())[0]
    assert ended["id"] == 7
    assert ended["result"]["_meta"][f"{PREFIX}subscriptionId"] == 7


async def test_a_workspace_with_directives_of_its_own_makes_clients_ask_again(line: Peer, tmp_path: Path) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "house-style.md").write_text("# House style\n")
    line.says(initialize(0), INITIALIZED, request(1, "resources/list"))
    line.hears_only(0)
    assert "wvo://directive/house-style" not in str(line.hears_only(1))

    async with served(line, a_face(tmp_path)):
        assert (await line.heard())[0]["method"] == "notifications/resources/list_changed"
        line.says(request(2, "resources/list"))
        assert "wvo://directive/house-style" in str((await line.heard())[0])


async def test_modern_listeners_hear_of_directives_too(line: Peer, tmp_path: Path) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "house-style.md").write_text("# House style\n")
    line.says(modern(7, "subscriptions/listen", notifications={"resourcesListChanged": True}))
    assert line.hears()["method"] == "notifications/subscriptions/acknowledged"

    async with served(line, a_face(tmp_path)):
        assert (await line.heard())[0]["method"] == "notifications/resources/list_changed"


CALLS: list[Message] = [
    {"name": "get_task", "arguments": {"task_id": "T1"}},
    {"name": "get_task", "arguments": {}},
    {"name": "get_task", "arguments": {"task_id": "T1"}, "extra": 1},
    {"name": "list_tasks"},
    {"name": "list_tasks", "arguments": None},
    {"name": "list_tasks", "arguments": []},
    {"name": "no_such_tool", "arguments": {}},
    {"name": 3},
    {"arguments": {}},
]


async def missing(caller: Caller) -> Any:
    raise NotFound("task", "T1", [])


@pytest.mark.parametrize("params", CALLS, ids=range(len(CALLS)))
@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_a_call_without_the_sdk_is_answered_as_by_the_sdk(
    line: Peer, tmp_path: Path, era: str, params: Message
) -> None:
    asked = modern(1, "tools/call", **params) if era == "modern" else request(1, "tools/call", params)
    before = [initialize(0), INITIALIZED] if era == "handshake" else []
    line.says(*before, asked)
    async with served(line, a_face(tmp_path, missing)):
        answer = (await line.heard(1 + (era == "handshake")))[-1]
    async with the_sdk(tmp_path, missing) as ask:
        for message in before[:1]:
            await ask(message)
        verdict = await ask(asked)

    assert answer == verdict


def test_only_the_tools_of_the_chosen_toolsets_are_shown() -> None:
    by_toolset: dict[str, list[str]] = recorded()["toolsets"]
    for chosen in (frozenset({"core"}), frozenset({"plan", "ops"}), None):
        opening = Opening(Record(recorded(), chosen))
        opened(opening, initialize())
        answer = opening.answer(request(1, "tools/list"))
        assert answer is not None
        shown = {tool["name"] for tool in answer["result"]["tools"]}
        assert shown == {name for toolset in chosen or by_toolset for name in by_toolset[toolset]}
