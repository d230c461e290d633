"""What the nodes of the parsed text say."""

import re
from collections.abc import Iterator

from tree_sitter import Node

_BRACES = re.compile(r"\{[^}]*(,|\.\.)[^}]*\}")


def unquoted_brace(node: Node) -> bool:
    unquoted = [
        text_of(child) for child in node.children if child.type not in ("string", "raw_string", "ansi_c_string")
    ]
    return _BRACES.search("".join(unquoted or [text_of(node)]).replace("\\{", "")) is not None


def within(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        one = stack.pop()
        yield one
        stack.extend(one.named_children)


def assigned_within(node: Node) -> Iterator[str]:
    for one in within(node):
        if one.type == "variable_assignment":
            yield name_of(one).partition("[")[0]


def name_of(node: Node) -> str:
    named = node.child_by_field_name("name") or node.child_by_field_name("variable")
    return text_of(named) if named is not None else ""


def text_of(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")
