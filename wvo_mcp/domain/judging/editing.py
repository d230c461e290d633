"""sed and awk: their programs can run commands and write files."""

import re
from collections.abc import Sequence

from wvo_mcp.domain.command import SimpleCommand, Word
from wvo_mcp.domain.judging.known import Judgements, ask
from wvo_mcp.domain.judging.reach import Reach
from wvo_mcp.domain.judging.sed import only_edits

EDITORS = frozenset({"awk", "gawk", "mawk", "nawk", "sed", "gsed"})
_VALUES = frozenset({"-F", "-v", "--assign", "--field-separator", "-l", "--line-length"})
_AWK = re.compile(r"system\s*\(|getline|\||>|@load|@include|@\w|extension\s*\(")


def editing(name: str, arguments: Sequence[Word], command: SimpleCommand, reach: Reach) -> Judgements:
    awk, given, files = name.endswith("awk"), False, list[Word]()
    rest = list(arguments)
    while rest:
        one = rest.pop(0)
        text = one.start
        if text in ("-f", "--file", "-E", "--exec", "-i", "-l", "--include", "--load") and (
            awk or text in ("-f", "--file")
        ):
            yield ask(name, f"the program of {name} is in a file", command.text)
            given = True
            del rest[:1]
        elif text in ("-e", "--expression", "--source"):
            yield from _program(awk, rest[:1], command)
            given = True
            del rest[:1]
        elif text.startswith(("--expression=", "--source=")) or (text.startswith("-e") and not awk):
            yield from _program(awk, [Word((text.partition("=")[2] if text.startswith("--") else text[2:],))], command)
            given = True
        elif text.startswith("--file=") or re.match(r"-[a-zA-Z]*f", text):
            yield ask(name, f"the program of {name} is in a file", command.text)
            given = True
        elif text.startswith("-") and len(text) > 1:
            if re.fullmatch(r"-[nEsurz]+e", text):
                yield from _program(awk, rest[:1], command)
                given = True
                del rest[:1]
            elif text in _VALUES:
                del rest[:1]
        elif not given:
            yield from _program(awk, [one], command)
            given = True
        else:
            files.append(one)
    in_place = not awk and any(re.match(r"-[nEsurz]*i|--in-place", one.start) for one in arguments)
    yield from reach.arguments(files, command.text, writes=in_place)


def _program(awk: bool, words: Sequence[Word], command: SimpleCommand) -> Judgements:
    name = "awk" if awk else "sed"
    for one in words:
        if one.text is None:
            yield ask(name, f"the program of {name} is computed", command.text)
        elif _AWK.search(one.text) if awk else not only_edits(one.text):
            yield ask(name, f"the {name} program may run commands, or read and write other files", command.text)
