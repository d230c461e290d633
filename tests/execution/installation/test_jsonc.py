"""Editing JSON files of other programs."""

import json

import pytest

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.jsonc import Document


def edited(text: str, *path: str, value: object) -> str:
    document = Document(text, "f.json")
    document.put(path, value)
    return document.text


def test_a_member_is_added_behind_the_others_and_every_other_byte_stays() -> None:
    text = '{\n    "b": [1,2],  // why\n    /* c */ "a" : {"x":1.0}\n}\n'

    assert edited(text, "s", "wvo", value={"command": "c"}) == (
        '{\n    "b": [1,2],  // why\n    /* c */ "a" : {"x":1.0},\n'
        '    "s": {\n        "wvo": {\n            "command": "c"\n        }\n    }\n}\n'
    )


def test_a_single_line_object_stays_on_its_line() -> None:
    assert edited('{"a": {"x": 1}}', "a", "y", value=[2]) == '{"a": {"x": 1, "y": [2]}}'


def test_an_empty_file_becomes_an_object() -> None:
    assert json.loads(edited("", "a", "b", value=1)) == {"a": {"b": 1}}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["  ", "\t", "    "])
def test_line_ends_and_indentation_are_those_of_the_file(newline: str, indent: str) -> None:
    text = newline.join(["{", f'{indent}"a": {{}}', "}", ""])

    assert edited(text, "a", "b", value={"c": 1}) == newline.join(
        [
            "{",
            f'{indent}"a": {{',
            f'{indent * 2}"b": {{',
            f'{indent * 3}"c": 1',
            f"{indent * 2}}}",
            f"{indent}}}",
            "}",
            "",
        ]
    )


def test_a_byte_order_mark_stays() -> None:
    assert edited('\ufeff{"a": 1}', "b", value=2) == '\ufeff{"a": 1, "b": 2}'


def test_a_value_is_replaced_in_its_place() -> None:
    text = '{\n  "m": {\n    "wvo": {"command": "other"},\n    "z": 1\n  }\n}\n'

    assert edited(text, "m", "wvo", value={"command": "c"}) == (
        '{\n  "m": {\n    "wvo": {\n      "command": "c"\n    },\n    "z": 1\n  }\n}\n'
    )


def test_an_array_takes_one_more_item_and_is_made_when_missing() -> None:
    document = Document('{"allow": ["a"]}', "f.json")
    document.append(("allow",), "b")
    document.append(("p", "deny"), "c")

    assert json.loads(document.text) == {"allow": ["a", "b"], "p": {"deny": ["c"]}}


def test_slashes_inside_strings_are_no_comments() -> None:
    text = '{"url": "http://x/*y*/", "q": "a\\"//b"}'
    assert json.loads(edited(text, "n", value=1)) == {"url": "http://x/*y*/", "q": 'a"//b', "n": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", 1),
        ("[]", 1),
        ('{"a": 1,}', 1),
        ('{\n"a": 1\n"b": 2}', 3),
        ('{"a": 1} {', 1),
        ('{"a": 1, "a": 2}', 1),
        ('{"a": 1, "\\u0061": 2}', 1),
        ('{"a": "\\x"}', 1),
        ('{"a": "x\ny"}', 1),
        ("{'a': 1}", 1),
        ("{/* open }", 1),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", 1),
        ('{"a": NaN}', 1),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        Document(text, "f.json")
    assert refused.value.details["field"] == "f.json"
    assert refused.value.details["line"] == line


@pytest.mark.parametrize("text", ['{"m": []}', '{"m": null}', '{"m": "x"}', '{"m": {"wvo": 1}}'])
def test_a_path_through_something_else_than_objects_is_refused(text: str) -> None:
    document = Document(text, "f.json")
    with pytest.raises(InvalidInput):
        document.put(("m", "wvo", "command"), 1)
    assert document.text == text


def test_adding_to_what_is_no_array_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Document('{"allow": {}}', "f.json").append(("allow",), "b")
