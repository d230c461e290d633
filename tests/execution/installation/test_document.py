"""Settings files of other programs keep what is theirs."""

import json
import tomllib

import pytest

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.document import Document

ENTRY = {"command": "wvo-mcp"}
MINE = '# my settings\nmodel = "gpt-5"  # the good one\n\n[mcp_servers.other]\ncommand = "x"\n'
OURS = '\n[mcp_servers.wvo]\ncommand = "wvo-mcp"\n'


def edited(text: str, *path: str, value: object, name: str = "f.json") -> str:
    document = Document(text, name)
    document.put(path, value)
    return document.text


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["  ", "\t", "    "])
def test_line_ends_and_indentation_of_json_are_those_of_the_file(newline: str, indent: str) -> None:
    text = newline.join(["{", f'{indent}"a": {{', f'{indent * 2}"x": "é"', f"{indent}}}", "}", ""])

    assert edited(text, "b", value=1) == text.replace(
        f"{indent}}}{newline}}}", f'{indent}}},{newline}{indent}"b": 1{newline}}}'
    )


def test_an_empty_file_becomes_an_object() -> None:
    assert json.loads(edited("", "a", "b", value=1)) == {"a": {"b": 1}}


def test_the_same_value_again_changes_nothing() -> None:
    text = '{"a": 1,   "b": [2]}'
    document = Document(text, "f.json")
    document.put(("a",), 1)
    document.append(("b",), 2)
    document.keep(("b",), [2])
    assert document.text == text


def test_an_array_takes_one_more_item_and_is_made_when_missing() -> None:
    document = Document('{"allow": ["a"]}', "f.json")
    document.append(("allow",), "b")
    document.append(("p", "deny"), "c")

    assert json.loads(document.text) == {"allow": ["a", "b"], "p": {"deny": ["c"]}}


def test_what_holds_nothing_any_more_goes_with_its_last_value() -> None:
    document = Document('{"p": {"allow": ["a"]}}', "f.json")
    document.keep(("p", "allow"), [])
    assert document.text == ""


def test_json_with_comments_is_read_and_a_change_of_it_is_refused_with_what_to_do() -> None:
    text = '{\n  // why\n  "a": {"url": "http://x/*y*/"} /* so */\n}\n'
    document = Document(text, "f.json")
    assert document.get("a", "url") == "http://x/*y*/"
    assert document.text == text

    document.put(("s", "wvo"), ENTRY)
    with pytest.raises(
        InvalidInput, match=r"'// why' would be lost.* by hand: set s\.wvo to \{\"command\": \"wvo-mcp\"\}"
    ):
        _ = document.text


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": 1,}',
        '{"a": 1} {',
        '{"a": 1, "a": 2}',
        '{"a": 1, "\\u0061": 2}',
        "{'a': 1}",
        "{/* open }",
        '{"a": ' + "[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Document(text, "f.json")
    assert refused.value.details["field"] == "f.json"


def test_a_broken_line_of_json_is_named() -> None:
    with pytest.raises(InvalidInput, match="line 4"):
        Document('{\n/* two\nlines */"a": 1\n"b": 2}', "f.json")


@pytest.mark.parametrize("text", ['{"m": []}', '{"m": null}', '{"m": "x"}', '{"m": {"wvo": 1}}'])
def test_a_path_through_something_else_than_objects_is_refused(text: str) -> None:
    document = Document(text, "f.json")
    with pytest.raises(InvalidInput):
        document.put(("m", "wvo", "command"), 1)
    assert document.get("m", "wvo", "command") is None
    assert document.text == text


def test_adding_to_what_is_not_an_array_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Document('{"allow": {}}', "f.json").append(("allow",), "b")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_entry_comes_into_toml_and_goes_again_and_the_rest_stays(newline: str) -> None:
    text = MINE.replace("\n", newline)

    after = edited(text, "mcp_servers", "wvo", value=ENTRY, name="config.toml")
    assert after == text + OURS.replace("\n", newline)

    document = Document(after, "config.toml")
    document.remove("mcp_servers", "wvo")
    assert document.text == text


@pytest.mark.parametrize(
    "text",
    [
        'model = "m"',
        'mcp_servers = { other = { command = "x" } }\n',
        'mcp_servers.wvo.command = "else"\n',
        '[mcp_servers]\nwvo = { command = "else" }\n',
        '[mcp_servers."wvo"]\ncommand = """\n[tricky]\n"""\n',
        '[mcp_servers.wvo]  # ours?\ncommand = "else"\n\n[mcp_servers.wvo.env]\nA = "1"\n\n[tui]\ntheme = "x"\n',
    ],
)
def test_an_entry_is_put_however_its_table_is_written(text: str) -> None:
    before = tomllib.loads(text)

    after = tomllib.loads(edited(text, "mcp_servers", "wvo", value=ENTRY, name="config.toml"))

    assert after == {**before, "mcp_servers": {**before.get("mcp_servers", {}), "wvo": ENTRY}}


def test_a_comment_of_toml_that_would_be_lost_stops_the_change() -> None:
    document = Document(OURS + "\n# about tui\n[tui]\ntheme = 1\n", "config.toml")
    document.remove("mcp_servers", "wvo")
    with pytest.raises(InvalidInput, match=r"about tui.* by hand: remove mcp_servers\.wvo"):
        _ = document.text


@pytest.mark.parametrize("text", ["model = ", "[a\n", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Document(text, "config.toml")
    assert refused.value.details["field"] == "config.toml"
