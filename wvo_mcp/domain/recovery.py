"""What to do when a launch ended badly for a reason that is neither its task's nor its provider's (WORK-5).

The table of triggers is data: what a program says, and what is changed for the next process. A limit, a lack of capacity, a
login, an outage, a full context, a refusal are never a crash: providers' signals have their own ways.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePath

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal

MOST_TRIES = 3
"""Corrected launches of one attempt."""
_TEMPORARY = ("/tmp", "/var/tmp", "/private/tmp")  # noqa: S108 - nothing is written there
_MOST = 4_000
_PATH = re.compile(r"(?<![\w./~-])/[^\s'\"`,;:<>|)\]]+")


class Act(StrEnum):
    NOT_MINE = "not_mine"
    """The provider's, or the task's own failure."""
    RELAUNCH = "relaunch"
    """Another process in the same session."""
    FRESH = "fresh"
    """Another process in a new session, with a home that is written anew."""
    ADD_FOLDER = "add_folder"
    """As relaunch, with one more folder open to it."""
    GIVE_UP = "give_up"
    """A person has to look."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """`says`, searched for without regard to case in the program's last words. `kind` None: of any program."""

    name: str
    kind: ProviderKind | None
    says: str
    act: Act


_K, _A = ProviderKind, Act
TRIGGERS = (
    Trigger("session_unknown", _K.CLAUDE, r"no conversation found with session id", _A.FRESH),
    Trigger("session_in_use", _K.CLAUDE, r"session id \S{1,80} is already in use", _A.FRESH),
    Trigger(
        "folder_closed",
        _K.CLAUDE,
        r"access blocked|outside (?:of )?(?:the )?allowed (?:working )?director",
        _A.ADD_FOLDER,
    ),
    Trigger("session_unknown", _K.CODEX, r"no rollout found|(?:thread|conversation) (?:\S{1,80} )?not found", _A.FRESH),
    Trigger("not_trusted", _K.CODEX, r"not inside a trusted directory|repository check failed", _A.FRESH),
    Trigger("folder_closed", _K.CODEX, r"outside (?:of )?the (?:writable|workspace) root", _A.ADD_FOLDER),
    Trigger(
        "hooks_of_the_project",
        _K.GEMINI,
        r"the project's \.gemini/settings\.json sets|hooks are turned off",
        _A.GIVE_UP,
    ),
    Trigger(
        "session_unknown",
        _K.GEMINI,
        r"invalid session identifier|error resuming session|no previous sessions",
        _A.FRESH,
    ),
    Trigger("not_trusted", _K.GEMINI, r"not running in a trusted (?:directory|folder|workspace)", _A.FRESH),
    Trigger(
        "folder_closed",
        _K.GEMINI,
        r"path must be within [^\n]{0,100}?workspace director|path not in workspace",
        _A.ADD_FOLDER,
    ),
    Trigger(
        "configuration",
        None,
        r"(?:invalid|broken|cannot read|error (?:in|loading|reading)) (?:\S+ ){0,3}(?:config|settings)",
        _A.FRESH,
    ),
    Trigger(
        "our_server",
        None,
        r"mcp (?:server|client)[^\n]{0,100}?(?:failed|timed out|could not|disconnected)",
        _A.RELAUNCH,
    ),
    Trigger("crashed", None, r"^it ended with code -?\d+", _A.RELAUNCH),
)


@dataclass(frozen=True, slots=True)
class Corrections:
    """Of the launches of one attempt so far."""

    folders: tuple[str, ...] = ()
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Remedy:
    act: Act
    trigger: str = ""
    corrections: Corrections = Corrections()
    why: str = ""


def remedy(
    kind: ProviderKind, said: str, signal: Signal | None, before: Corrections, allowed: Sequence[str], *, resumed: bool
) -> Remedy:
    """What follows a process that ended its turn with `said` and no end of its task. `allowed`: folders that may be opened
    to it, besides the temporary ones; nothing else ever is. `resumed`: it was to go on in an earlier session."""
    if signal is not None and signal.kind is not FailureKind.PERMISSION:
        return Remedy(Act.NOT_MINE)
    text = f"{said[:_MOST]}\n{'' if signal is None else signal.message}"
    trigger = next(
        (one for one in TRIGGERS if one.kind in (None, kind) and re.search(one.says, text, re.IGNORECASE)), None
    )
    if trigger is None:
        return Remedy(Act.NOT_MINE)
    act, tries = trigger.act, before.tries + 1
    why = f"{trigger.name.replace('_', ' ')}: {said.strip()[:300] or text.strip()[:300]}"
    after = replace(before, tries=tries)
    if act is Act.ADD_FOLDER:
        folder = _folder(text, (*allowed, *_TEMPORARY))
        if folder is None or folder in before.folders:
            return Remedy(Act.NOT_MINE)
        after = replace(after, folders=(*before.folders, folder))
    if act is Act.RELAUNCH and resumed and tries > 1:
        act = Act.FRESH  # its session may be what it does not survive
    if act is not Act.GIVE_UP and tries > MOST_TRIES:
        return Remedy(Act.GIVE_UP, trigger.name, before, f"it was launched again {MOST_TRIES} times, and still: {why}")
    return Remedy(act, trigger.name, after, why)


def _folder(text: str, allowed: Sequence[str]) -> str | None:
    """The allowed folder that holds a path of the text."""
    for found in _PATH.findall(text):
        path = PurePath(found)
        if ".." in path.parts:
            continue
        for folder in allowed:
            if path.is_relative_to(folder):
                return folder
    return None
