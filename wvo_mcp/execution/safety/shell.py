"""Reads shell text with tree-sitter's grammar of bash. What it cannot read in whole is said to be a problem, never guessed.

Variables are followed only where it is certain what they are: what is assigned in a branch, a loop, a subshell or a
function is not known after it.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser, Tree

from wvo_mcp.domain.command import ANY, Redirect, Script, SimpleCommand, Values, Word
from wvo_mcp.execution.safety.nodes import assigned_within, name_of, text_of, unquoted_brace, within
from wvo_mcp.execution.safety.quoting import MOST_VALUES, ansi, joined, plain, quoted

_DEEPEST = 60
_HEREDOC = "here-document"
_APART = frozenset({"subshell", "command_substitution", "process_substitution"})
_BRANCHES = frozenset({"while_statement", "if_statement", "case_statement", "c_style_for_statement"})
_FORGETTING = frozenset(
    {"read", "mapfile", "readarray", "getopts", "let", "unset", "cd", "pushd", "popd", "set", "wait"}
)
_LOSING = frozenset({"eval", ".", "source", "trap", "builtin", "command", "exec", "shopt", "enable"})
_SETS = re.compile(
    rb"\b(read|mapfile|readarray|getopts|printf\s+-v|let|eval|source|declare|typeset|local|trap|builtin)\b|[;&|\s]\.\s"
)
_EVALUATED = re.compile(r"\$\(|`")
_SPLIT = re.compile(r"[\s*?\[\]]|^$")


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def parse(text: str) -> Tree:
    return _parser().parse(text.encode(errors="replace"))


def read(text: str, variables: Mapping[str, Values] | None = None) -> Script:
    """`variables`: what is known of the environment, such as HOME."""
    if "\0" in text:
        return Script(problems=("it contains a NUL byte",))
    tree = parse(text)
    if tree.root_node.has_error:
        return Script(problems=("it cannot be read as a shell command",))
    reading = _Reading(dict(variables or {}))
    try:
        reading.node(tree.root_node, None, 0)
    except RecursionError:
        return Script(problems=("it is nested too deeply",))
    return Script(tuple(reading.commands), tuple(reading.problems), reading.fork_bomb)


class _Reading:
    def __init__(self, variables: dict[str, Values]) -> None:
        self.variables: dict[str, Values] = variables
        self.commands: list[SimpleCommand] = []
        self.functions: set[str] = set()
        self.problems: list[str] = []
        self.fork_bomb = False
        self.apart = 0
        self.lost = False
        """What variables are can no longer be followed."""

    def node(self, node: Node, fed: str | None, depth: int) -> None:
        if depth > _DEEPEST:
            raise RecursionError
        match node.type:
            case "command":
                self._command(node, fed, None, (), depth)
            case "declaration_command" | "unset_command":
                self._declaration(node, depth)
            case "redirected_statement":
                self._redirected(node, fed, depth)
            case "pipeline":
                self._pipeline(node, fed, depth)
            case "variable_assignment":
                self._assign(node, depth)
            case "for_statement":
                self._loop(node, fed, depth)
            case "function_definition":
                self._function(node, depth)
            case "list":
                self._list(node, fed, depth)
            case "test_command":
                if any(one.type == "raw_string" and _EVALUATED.search(text_of(one)) for one in within(node)):
                    self.problems.append("a test would evaluate a command within quotes")
                self._children(node, fed, depth)
            case kind if kind in _BRANCHES:
                self._forget(node)
                self._aside(node.named_children, fed, depth)
                self._forget(node)
            case kind if kind in _APART:
                self._aside(node.named_children, fed, depth)
                self._forget(node)
            case _:
                self._children(node, fed, depth)

    def _children(self, node: Node, fed: str | None, depth: int) -> None:
        for child in node.children:
            if child.is_named:
                following = child.next_sibling
                if following is not None and following.type == "&":
                    self._aside([child], fed, depth)
                    self._forget(child)
                else:
                    self.node(child, fed, depth + 1)

    def _aside(self, nodes: Iterable[Node], fed: str | None, depth: int) -> None:
        """What may not run, or runs in a process of its own."""
        self.apart += 1
        for node in nodes:
            self.node(node, fed, depth + 1)
        self.apart -= 1

    def _forget(self, node: Node) -> None:
        """What is assigned there is not known any more."""
        if _SETS.search(node.text or b""):
            self._forget_all()
        for name in assigned_within(node):
            self.variables[name] = ()

    def _forget_all(self) -> None:
        self.variables = {name: () for name in self.variables}

    def _list(self, node: Node, fed: str | None, depth: int) -> None:
        """Whether what follows && or || is run is not known after it."""
        for position, child in enumerate(node.named_children):
            self.apart += position > 0
            self.node(child, fed, depth + 1)
            self.apart -= position > 0
            if any(one.type == "||" for one in node.children):
                self._forget(child)
        parent = node.parent
        if parent is None or parent.type != "list" or any(one.type == "||" for one in parent.children):
            self._forget(node)

    def _function(self, node: Node, depth: int) -> None:
        """Its body runs when it is called, with what variables are then."""
        name = name_of(node)
        self.functions.add(name)
        body = node.child_by_field_name("body")
        outer = self.variables
        first = len(self.commands)
        self.variables = {name: values if name == "HOME" else () for name, values in outer.items()}
        for child in node.named_children:
            if child.type == "file_redirect":
                self.commands.append(SimpleCommand(text_of(node), redirects=(self._file_redirect(child, depth)[0],)))
        if body is not None:
            self._aside([body], None, depth)
            called = [one.words[0].text for one in self.commands[first:] if one.words]
            self.fork_bomb |= called.count(name) > 1 or (name in called and b"&" in (body.text or b""))
        self.variables = outer
        self._forget(node)

    def _loop(self, node: Node, fed: str | None, depth: int) -> None:
        name, body = name_of(node), node.child_by_field_name("body")
        self._forget(node)
        items = [
            self._word(child, depth)
            for child in node.named_children
            if child.type not in ("variable_name", "do_group", "comment")
        ]
        values = tuple(itertools.chain.from_iterable(one.values for one in items))
        known = items and all(one.values and not one.glob for one in items) and len(values) <= MOST_VALUES
        self.variables[name] = values if known else ()
        self.commands.append(SimpleCommand(f"for {name}", assigned=((name, ANY),)))
        if body is not None:
            self._aside([body], fed, depth)
        self._forget(node)
        self.variables[name] = ()

    def _pipeline(self, node: Node, fed: str | None, depth: int) -> None:
        for child in node.named_children:
            first = len(self.commands)
            self._aside([child], fed, depth)
            made = self.commands[first:]
            fed = " | ".join(filter(None, (fed, *(one.text for one in made)))) or "a pipe"
        self._forget(node)

    def _redirected(self, node: Node, fed: str | None, depth: int) -> None:
        body, redirects, given = node.child_by_field_name("body"), list[Redirect](), None
        piped: list[Node] = []
        for child in node.children_by_field_name("redirect"):
            if child.type == "file_redirect":
                one, source = self._file_redirect(child, depth)
                redirects.append(one)
                fed = source or fed
                continue
            fed, given = _HEREDOC, self._given(child, redirects, piped, depth)
        first = len(self.commands)
        if body is None:
            self.commands.append(SimpleCommand(text_of(node), redirects=tuple(redirects)))
        elif body.type == "command":
            self._command(body, fed, given, tuple(redirects), depth)
        else:
            self.node(body, fed, depth + 1)
            # A redirection of a group holds for each of its commands: which of them writes is not looked at.
            self.commands[first:] = [
                replace(one, redirects=(*one.redirects, *redirects), given=one.given or given)
                for one in self.commands[first:]
            ]
            if redirects and len(self.commands) == first:
                self.commands.append(SimpleCommand(text_of(node), redirects=tuple(redirects)))
        for part in piped:
            self.node(part, _HEREDOC if body is None else text_of(body), depth + 1)

    def _given(self, node: Node, redirects: list[Redirect], piped: list[Node], depth: int) -> str | None:
        """The text of a here-document or here-string; None when it is computed. What stands on its line is kept too."""
        if node.type != "heredoc_redirect":
            words = [self._word(child, depth) for child in node.named_children]
            return words[0].text if len(words) == 1 else None
        given: str | None = ""
        for part in node.named_children:
            if part.type == "file_redirect":
                redirects.append(self._file_redirect(part, depth)[0])
            elif part.type == "heredoc_body":
                self._children(part, None, depth + 1)
                self._left_out(part, node)
                expands = any(child.type != "heredoc_content" for child in part.named_children)
                given = None if expands else text_of(part)
            elif part.type not in ("heredoc_start", "heredoc_end", "file_descriptor"):
                piped.append(part)
        return given

    def _left_out(self, body: Node, node: Node) -> None:
        """The grammar misses substitutions in some here-documents, such as those of <<-."""
        start = next((text_of(one) for one in node.named_children if one.type == "heredoc_start"), "")
        if any(one in start for one in ("'", '"', "\\")):
            return
        rest = body.text or b""
        for child in body.named_children:
            if child.type != "heredoc_content":
                rest = rest.replace(child.text or b"", b"", 1)
        if re.search(rb"(?<!\\)(\$\(|`)", rest):
            self.problems.append("a here-document holds commands that could not be read")

    def _file_redirect(self, node: Node, depth: int) -> tuple[Redirect, str | None]:
        operator = next((child.type for child in node.children if not child.is_named), "")
        destination = node.child_by_field_name("destination")
        if destination is None:
            return Redirect(False, None), None
        text = destination.text or b""
        if operator in (">&", "<&") and (text.strip(b"-").isdigit() or text == b"-"):
            return Redirect(False, None), None
        word = self._word(destination, depth)
        return Redirect(">" in operator, word), None if ">" in operator else "a file"

    def _command(
        self, node: Node, fed: str | None, given: str | None, redirects: tuple[Redirect, ...], depth: int
    ) -> None:
        words, assigned, extra = list[Word](), list[tuple[str, Word]](), list(redirects)
        for child in node.named_children:
            match child.type:
                case "variable_assignment":
                    assigned.append(self._value(child, depth))
                case "file_redirect":
                    one, source = self._file_redirect(child, depth)
                    extra.append(one)
                    fed = source or fed
                case "herestring_redirect":
                    fed, given = _HEREDOC, self._given(child, extra, [], depth)
                case "command_name":
                    words += self._braces(child.named_children[0] if child.named_children else child, depth)
                case "comment":
                    continue
                case _:
                    words += self._braces(child, depth)
        made = SimpleCommand(text_of(node), tuple(words), tuple(assigned), tuple(extra), fed, given, self.apart > 0)
        self.commands.append(made)
        name = words[0].text if words else ""
        if name is None or name in _LOSING:
            self.lost = True
        elif (
            name in _FORGETTING
            or name in self.functions
            or (name == "printf" and words[1:] and words[1].start.startswith("-v"))
        ):
            self._forget_all()

    def _declaration(self, node: Node, depth: int) -> None:
        words, assigned = [Word((node.children[0].type,))], list[tuple[str, Word]]()
        for child in node.named_children:
            if child.type == "variable_assignment":
                assigned.append(self._value(child, depth))
                self.variables[assigned[-1][0]] = assigned[-1][1].values
                continue
            word = self._word(child, depth)
            words.append(word)
            if (
                word.text is None
                or "=" in word.text
                or (word.text.startswith("-") and word.text not in ("-x", "-g", "-a", "-A", "-p", "-f"))
            ):
                self.lost = True
        self.lost |= words[0].text == "readonly"
        if words[0].text == "unset":
            self._forget_all()
        self.commands.append(SimpleCommand(text_of(node), tuple(words), tuple(assigned)))

    def _assign(self, node: Node, depth: int) -> None:
        name, word = self._value(node, depth)
        self.variables[name] = word.values
        self.commands.append(SimpleCommand(text_of(node), assigned=((name, word),)))

    def _value(self, node: Node, depth: int) -> tuple[str, Word]:
        """Its name and what it becomes; nothing of it is known when it is appended, or an element of an array."""
        value = node.child_by_field_name("value")
        word = Word(("",)) if value is None else self._word(value, depth)
        if any(_EVALUATED.search(one) for one in word.values):
            self.problems.append("a variable would hold a command within quotes")
        target = node.child_by_field_name("name")
        if target is not None and target.type == "subscript":
            self._children(target, None, depth + 1)
            word = ANY
        appended = any(child.type == "+=" for child in node.children)
        return name_of(node).partition("[")[0], ANY if appended or word.glob else word

    def _braces(self, node: Node, depth: int) -> list[Word]:
        """An unquoted {a,b} is several words; which ones is not worked out: the word is not known, but for its beginning."""
        word = self._word(node, depth)
        if node.type in ("concatenation", "word", "brace_expression") and unquoted_brace(node):
            beyond = ".." in text_of(node) or "/" in text_of(node).partition("{")[2]
            return [Word((), "/" if beyond else word.start.partition("{")[0], glob=True)]
        return [word]

    def _word(self, node: Node, depth: int) -> Word:
        if depth > _DEEPEST:
            raise RecursionError
        match node.type:
            case (
                "word"
                | "number"
                | "variable_name"
                | "test_operator"
                | "regex"
                | "extglob_pattern"
                | "special_variable_name"
            ):
                if node.named_children:
                    self._children(node, None, depth + 1)
                    return ANY
                return plain(text_of(node))
            case "raw_string":
                return Word((text_of(node)[1:-1],))
            case "ansi_c_string":
                return ansi(text_of(node)[2:-1])
            case "string" | "translated_string":
                return self._string(node, depth)
            case "concatenation":
                return joined([self._word(child, depth + 1) for child in node.children])
            case "simple_expansion":
                return self._expanded(text_of(node)[1:], in_quotes=False)
            case "expansion":
                return self._expansion(node, depth, in_quotes=False)
            case _:
                self.node(node, None, depth + 1)
                return ANY

    def _expansion(self, node: Node, depth: int, *, in_quotes: bool) -> Word:
        names = [child for child in node.named_children if child.type in ("variable_name", "special_variable_name")]
        self._children(node, None, depth + 1)
        if len(names) == 1 and text_of(node) == "${" + text_of(names[0]) + "}":
            return self._expanded(text_of(names[0]), in_quotes=in_quotes)
        for name in names:  # it may be assigned, as by ${x:=y}
            self.variables[text_of(name)] = ()
            if re.search(r":?=", text_of(node)):
                self.commands.append(SimpleCommand(text_of(node), assigned=((text_of(name), ANY),)))
        return ANY

    def _string(self, node: Node, depth: int) -> Word:
        """Its children leave out blanks between them, so that the text in between is taken from the source."""
        source, at, parts = node.text or b"", node.start_byte, list[Word]()
        position = 2 if node.type == "translated_string" else 1
        for child in node.named_children:
            if child.type == "string_content":
                continue
            parts.append(quoted(source[position : child.start_byte - at]))
            if child.type == "simple_expansion":
                parts.append(self._expanded(text_of(child)[1:], in_quotes=True))
            elif child.type == "expansion":
                parts.append(self._expansion(child, depth, in_quotes=True))
            else:
                parts.append(self._word(child, depth + 1))
            position = child.end_byte - at
        parts.append(quoted(source[position:-1]))
        return replace(joined(parts), glob=False)

    def _expanded(self, name: str, *, in_quotes: bool) -> Word:
        """Without quotes, a value with blanks would be several words."""
        values = () if self.lost else self.variables.get(name, ())
        if not in_quotes and any(_SPLIT.search(one) for one in values):
            return ANY
        return Word(values, values[0] if len(values) == 1 else "")
