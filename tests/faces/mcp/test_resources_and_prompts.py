"""Resources, prompts and the instructions."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import TextContent, TextResourceContents

from tests.faces.mcp.served import a_server
from tests.support.services import Services
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import StoreBusy
from wvo_mcp.execution.directives import MAX_BYTES, PACKAGED
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.prompts import INSTRUCTIONS
from wvo_mcp.faces.mcp.sdk import build_server
from wvo_mcp.operations import tools

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-9")]
CALLER = Caller(agent_id="tester", session_id="S1", client="tester")


@pytest.fixture
async def client(services: Services) -> AsyncIterator[Client]:
    """A client of a server over a real store."""
    async with Client(build_server(Face(services, lambda _: CALLER, frozenset({"core"}), lambda: None))) as connected:
        yield connected


async def text_at(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.uri == uri
    return content.text


async def refusal_of(client: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.read_resource(uri)
    return caught.value


async def test_the_state_of_work_is_a_resource_also_where_its_tool_is_off(client: Client) -> None:
    assert json.loads(await text_at(client, "wvo://status"))


async def test_a_task_and_a_topic_are_resources(client: Client) -> None:
    await client.call_tool("create_tasks", {"tasks": [{"id": "T1", "title": "Käse"}]})
    await client.call_tool("context_write", {"topic": "build / notes", "content": "Use make."})

    assert json.loads(await text_at(client, "wvo://task/T1"))["task"]["title"] == "Käse"
    entries = json.loads(await text_at(client, "wvo://context/build%20%2F%20notes"))["entries"]
    assert [entry["content"] for entry in entries] == ["Use make."]


async def test_directives_are_listed_and_read(client: Client, tmp_path: Path) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "house-style.md").write_text("Be brief.\n")
    (tmp_path / "directives" / "error-recovery.md").write_text("Ask Ada.\n")
    uris = [resource.uri for resource in (await client.list_resources()).resources]

    assert uris == [
        "wvo://status",
        "wvo://directive/error-recovery",
        "wvo://directive/external-research",
        "wvo://directive/house-style",
        "wvo://directive/working-agreement",
    ]
    assert await text_at(client, "wvo://directive/house-style") == "Be brief.\n"
    assert await text_at(client, "wvo://directive/error-recovery") == "Ask Ada.\n"
    assert await text_at(client, "wvo://directive/external-research") == (PACKAGED / "external-research.md").read_text()


async def test_templates_say_where_the_rest_is(client: Client) -> None:
    listed = (await client.list_resource_templates()).resource_templates

    assert {template.uri_template for template in listed} == {
        "wvo://task/{id}",
        "wvo://context/{topic}",
        "wvo://directive/{name}",
    }


@pytest.mark.parametrize(
    ("uri", "near"),
    [
        ("wvo://task/CHECKOUT-2", "CHECKOUT-1"),
        ("wvo://directive/eror-recovery", "error-recovery"),
        ("wvo://taks/T1", "wvo://task/{id}"),
        ("wvo://state", "wvo://status"),
        ("wvo://task/", "wvo://task/{id}"),
        ("file:///etc/passwd", "wvo://status"),
        ("nonsense", "wvo://status"),
    ],
)
async def test_an_unknown_resource_names_what_is_near(client: Client, uri: str, near: str) -> None:
    await client.call_tool("create_tasks", {"tasks": [{"id": "CHECKOUT-1", "title": "One"}]})
    refused = await refusal_of(client, uri)

    assert refused.code == -32602
    assert refused.data["uri"] == uri
    assert near in refused.message


@pytest.mark.parametrize(
    "name", ["../secret", "..%2Fsecret", "%2Fetc%2Fpasswd", "a%00b", ".hidden", "x" * 100_000, "error-recovery.md"]
)
async def test_a_directive_is_never_a_path(client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.md").write_text("secret")
    refused = await refusal_of(client, f"wvo://directive/{name}")

    assert refused.code == -32602
    assert len(refused.message) < 5_000


async def test_a_directive_that_links_out_of_the_workspace_is_not_found(
    client: Client, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.md"
    secret.write_text("secret")
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "link.md").symlink_to(secret)

    assert "not_found" in (await refusal_of(client, "wvo://directive/link")).message


@pytest.mark.parametrize(("content", "problem"), [(b"x" * (MAX_BYTES + 1), "256 KiB"), (b"\xff\xfe", "UTF-8")])
async def test_a_directive_that_cannot_be_shown_says_why(
    client: Client, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "big.md").write_bytes(content)

    assert problem in (await refusal_of(client, "wvo://directive/big")).message


async def test_a_busy_store_is_an_internal_error_that_may_be_tried_again(tmp_path: Path) -> None:
    async def busy(caller: Caller) -> Any:
        raise StoreBusy("The store is busy.")

    async with Client(a_server(tmp_path, busy)) as client:
        refused = await refusal_of(client, "wvo://task/T1")
    assert refused.code == -32603
    assert refused.data["error"]["retryable"] is True


async def test_a_defect_in_a_resource_shows_nothing_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(caller: Caller) -> Any:
        raise KeyError("secret detail")

    async with Client(a_server(tmp_path, broken)) as client:
        refused = await refusal_of(client, "wvo://task/T1")
    assert "secret" not in refused.message + str(refused.data)
    assert refused.data["error"]["details"]["ref"] in caplog.text


async def test_the_prompts_fill_in_what_they_are_given(client: Client) -> None:
    listed = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    given = {
        "work": {"task": "T7"},
        "plan": {"goal": "Go {fast}"},
        "review": {"task_id": "T7"},
        "triage": {"epic": "E7"},
    }
    assert listed.keys() == given.keys()

    for name, arguments in given.items():
        (argument,) = arguments
        assert [taken.name for taken in listed[name].arguments or []] == [argument]
        (message,) = (await client.get_prompt(name, arguments)).messages
        assert isinstance(message.content, TextContent)
        assert arguments[argument] in message.content.text


@pytest.mark.parametrize("name", ["work", "triage"])
async def test_what_a_prompt_can_do_without_may_be_left_out(client: Client, name: str) -> None:
    (message,) = (await client.get_prompt(name)).messages

    assert isinstance(message.content, TextContent)
    assert "{" not in message.content.text


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("plan", {}, "goal"),
        ("plan", {"goal": "  "}, "goal"),
        ("review", {"task_id": "T1", "colour": "red"}, "colour"),
        ("worl", {}, "work"),
    ],
)
async def test_a_prompt_that_cannot_be_filled_says_what_is_wrong(
    client: Client, name: str, arguments: dict[str, str], named: str
) -> None:
    with pytest.raises(MCPError, match=named) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.code == -32602


async def test_the_instructions_are_short_and_name_only_tools_that_exist(client: Client) -> None:
    assert client.instructions == INSTRUCTIONS
    assert len(INSTRUCTIONS) < 2_000
    core = {operation.name for operation in tools(frozenset({"core"}))}
    assert {name for name in core if name in INSTRUCTIONS} >= core - {"update_task", "get_task", "list_tasks"}


def test_the_directives_of_this_repository_are_those_that_every_workspace_gets() -> None:
    here = Path(__file__).parents[3] / "directives"

    assert {file.name: file.read_text() for file in here.glob("*.md")} == {
        file.name: file.read_text() for file in PACKAGED.glob("*.md")
    }
