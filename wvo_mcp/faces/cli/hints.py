"""Hints name tools, for agents; people type commands."""

import re


def for_people(hint: str) -> str:
    """The hint with every tool as its command and every field as its flag: `claim_task` is `wvo-mcp claim-task`."""
    from wvo_mcp.operations import ALL  # late: only an error on a terminal needs the registry

    fields = {name for op in ALL.values() for name in op.fields}

    def command(found: re.Match[str]) -> str:
        name = found["name"]
        if name in ALL and ("_" in name or found["tool"]):
            return "wvo-mcp " + name.replace("_", "-")
        return "--" + name.replace("_", "-") if name in fields and "_" in name else found[0]

    return re.sub(r"(?P<tool>\b[Tt]he tool )?\b(?P<name>[a-z]+(?:_[a-z]+)*)\b", command, hint)
