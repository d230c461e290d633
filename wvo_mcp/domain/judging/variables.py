"""Variables that change which programs run, and the builtins that set them."""

import re
from collections.abc import Sequence

from wvo_mcp.domain.command import ANY, SimpleCommand, Word
from wvo_mcp.domain.judging.known import Judgements, ask, known, programs
from wvo_mcp.domain.judging.reach import Reach

SETTING = frozenset(
    {"export", "declare", "typeset", "readonly", "local", "read", "mapfile", "readarray", "getopts", "printf", "unset"}
)
_EVALUATING = SETTING | {"let", "test", "[", "[[", "wait", "set"}


def variable(name: str, value: Word, command: SimpleCommand, reach: Reach) -> Judgements:
    if name in programs("path_variables") and value.text is not None:
        for part in value.text.split(":"):
            yield from reach.path(Word((part or ".",)), command.text, writes=False, runs=part not in programs("system"))
    elif (
        name in programs("variables")
        or name in programs("path_variables")
        or name.startswith(tuple(known()["programs"]["variable_prefixes"]))
    ):
        yield ask("variable", f"{name} changes which programs run, or how", command.text)


_SIGNALLED = re.compile(r"-\d+|0|1")


def killing(arguments: Sequence[Word], command: SimpleCommand) -> Judgements:
    """A negative number is a group of processes, or all of them."""
    rest = arguments[1:] if arguments and arguments[0].start.startswith("-") else arguments
    if any(_SIGNALLED.fullmatch(one.start) for one in rest):
        yield ask("kill", "kill would end more than one process of yours", command.text)


def builtin(name: str, arguments: Sequence[Word], command: SimpleCommand, reach: Reach) -> Judgements:
    """Their words are no paths; some set variables, or evaluate what they are given."""
    if name == "kill":
        yield from killing(arguments, command)
    for one in arguments:
        if name in _EVALUATING and re.search(r"\$\(|`", one.start):
            yield ask("evaluation", f"{name} would evaluate a command within quotes", command.text)
        if name in SETTING:
            target, equals, value = one.start.partition("=")
            if one.text is None and not equals:
                yield ask("variable", f"{name} sets a variable whose name is computed", command.text)
            elif name != "printf" or arguments[0].start.startswith("-v"):
                known_value = Word((value,)) if one.text is not None and equals else ANY
                yield from variable(target.partition("[")[0].removeprefix("-v"), known_value, command, reach)
