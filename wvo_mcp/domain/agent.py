"""Names of agents. Standard library only: a client waits for the stop hook, which needs one."""

import re

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def short(session: str) -> str:
    """The end of a UUID, which is random in every version of them; anything else as it is."""
    return session[-8:] if _UUID.fullmatch(session) else session
