"""The rules of the project in `state/roadmap.yaml`, as far as a person has accepted them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import anyio.to_thread

from wvo_mcp.domain.rules import Difference, Rules, Stated, held_back, rules_of, waits
from wvo_mcp.errors import InvalidInput, NotFound, StoreUnavailable
from wvo_mcp.execution.replacement import fingerprint
from wvo_mcp.execution.trust import PLANS, ROADMAP, Trust

_STATES_RULES = re.compile(rb"""["']?\b(?:project|verify)["']?[ \t]*:""")
_MOST_BYTES = 32 * 2**20
_SHORT_BYTES = 2**16


class RulesOfRoadmap:
    """Implements `ports.rules.ProjectRules` over the one file of ROOT."""

    def __init__(self, path: Path, trust: Trust) -> None:
        self._path = path
        self._trust = trust
        self._seen: tuple[str | None, str | None] | None = None
        self._rules = Rules()
        self._unaccepted: str | None = None
        self._problem: str | None = None
        self._target: str | None = None

    async def refresh(self) -> None:
        if self._marks() == self._seen:
            return
        if self._is_short():
            # Not in a thread: calls that came in one go would overtake each other meanwhile.
            self.read_changes()
        else:
            await anyio.to_thread.run_sync(self.read_changes, abandon_on_cancel=True)

    def _is_short(self) -> bool:
        try:
            return self._path.stat().st_size <= _SHORT_BYTES
        except OSError:
            return True

    def read_changes(self) -> None:
        """`refresh`, in the thread of the caller."""
        seen = self._marks()
        accepted = self._trust.accepted(ROADMAP)
        try:
            stated, present = stated_in(self._path)
            holds, differences = held_back(stated, accepted, present)
            self._problem = None
        except (InvalidInput, StoreUnavailable) as error:
            holds, differences, self._problem = accepted, [], error.message
        of_plans = {name: tuple(commands) for name, commands in self._trust.accepted(PLANS).items()}
        rules = rules_of(holds)
        self._rules = replace(rules, tasks={**of_plans, **rules.tasks})
        self._unaccepted = waits(differences)
        self._seen = seen

    def _marks(self) -> tuple[str | None, str | None]:
        return fingerprint(self._path), self._trust.fingerprint()

    def current(self) -> Rules:
        return self._rules if self._target is None else replace(self._rules, target=self._target)

    def aim(self, target: str) -> None:
        self._target = target

    def unaccepted(self) -> str | None:
        return self._unaccepted

    def problem(self) -> str | None:
        return self._problem


def stated_in(path: Path) -> tuple[Stated, frozenset[str]]:
    """What the file states, and the ids that it has; nothing where there is no file. Raises InvalidInput, StoreUnavailable."""
    try:
        with path.open("rb") as file:
            if not _STATES_RULES.search(file.read(_MOST_BYTES)):  # most roadmaps: nothing is parsed
                return {}, frozenset()
    except FileNotFoundError:
        return {}, frozenset()
    except OSError:
        pass  # the reader says what is wrong
    from wvo_mcp.execution.roadmap.source import read_roadmap  # with the reader of YAML

    try:
        roadmap = read_roadmap(path, set)
    except NotFound:
        return {}, frozenset()
    return roadmap.stated(), frozenset(one.id for one in (*roadmap.epics, *roadmap.tasks))


def open_differences(path: Path, trust: Trust) -> tuple[Stated, list[Difference]]:
    """What the file states, and what of it waits for a person. Raises InvalidInput, StoreUnavailable."""
    stated, present = stated_in(path)
    return stated, held_back(stated, trust.accepted(ROADMAP), present)[1]
