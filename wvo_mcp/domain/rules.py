"""The rules of a project for work that comes in (contract, section 9: `project:` and `verify` of the roadmap)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

Stated = Mapping[str, Any]
"""What a roadmap states of them, JSON-ready: {project: {key: value}, epics: {id: commands}, tasks: {id: commands}}. Values
that are the default are left out."""


class MergePolicy(StrEnum):
    REBASE = "rebase"
    SQUASH = "squash"
    MERGE = "merge"


class MergeMode(StrEnum):
    LOCAL = "local"
    PUSH = "push"
    PULL_REQUEST = "pull_request"


class Review(StrEnum):
    """From the mildest to the strictest."""

    OFF = "off"
    MILESTONES = "milestones"
    REQUIRED = "required"


OFF = "off"
"""`merge: off`: what is completed is not submitted."""

Commands = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRules:
    policy: MergePolicy = MergePolicy.REBASE
    mode: MergeMode = MergeMode.LOCAL
    max_waiting: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """As people accepted them. `target`: the branch that work starts from and lands in; None: the one that is checked out in
    ROOT. `setup` and each of `verify` are for `sh -c`; `verify_timeout` in seconds; `env` names variables that pass to
    them. `merge` is None when submissions are off."""

    target: str | None = None
    setup: str | None = None
    verify: Commands = ()
    verify_timeout: int = 600
    env: tuple[str, ...] = ()
    merge: MergeRules | None = MergeRules()
    review: Review = Review.OFF
    epics: Mapping[str, Commands] = field(default_factory=dict[str, Commands])
    tasks: Mapping[str, Commands] = field(default_factory=dict[str, Commands])

    def verify_of(self, task_id: str, epic_id: str | None) -> Commands:
        """The commands of the project, then those that its epic and the task add; each once."""
        added = (*self.verify, *self.epics.get(epic_id or "", ()), *self.tasks.get(task_id, ()))
        return tuple(dict.fromkeys(added))


def stated_by(project: Mapping[str, Any], epics: Mapping[str, Commands], tasks: Mapping[str, Commands]) -> Stated:
    """`project` has the keys of the file that it gives; epics and tasks only those that add to `verify`."""
    given = {name: _json(value) for name, value in project.items()}
    return {
        "project": {name: value for name, value in given.items() if value != _DEFAULTS[name]},
        "epics": {name: list(commands) for name, commands in epics.items() if commands},
        "tasks": {name: list(commands) for name, commands in tasks.items() if commands},
    }


def rules_of(stated: Stated) -> Rules:
    """Raises KeyError, TypeError, ValueError for what `stated_by` did not make."""
    values = {**_DEFAULTS, **stated.get("project", {})}
    merge = values["merge"]
    return Rules(
        target=values["target"],
        setup=values["setup"],
        verify=tuple(values["verify"]),
        verify_timeout=values["verify_timeout"],
        env=tuple(values["env"]),
        merge=None if merge == OFF else _merge_rules(merge),
        review=Review(values["review"]),
        epics={name: tuple(commands) for name, commands in stated.get("epics", {}).items()},
        tasks={name: tuple(commands) for name, commands in stated.get("tasks", {}).items()},
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that waits for a person: `name` such as `project.setup` or `verify of T1`; None: there is none."""

    name: str
    accepted: Any
    stated: Any


def held_back(stated: Stated, accepted: Stated, present: Collection[str]) -> tuple[Stated, list[Difference]]:
    """What holds: all that was accepted, and of what is stated that which only forbids more; and what waits for a person.

    `present` are the ids that the roadmap has: what was accepted of another one is of no use, and waits for nobody.
    """
    now, then = ({**_DEFAULTS, **one.get("project", {})} for one in (stated, accepted))
    differences: list[Difference] = []
    for name, default in _DEFAULTS.items():
        if now[name] != then[name] and not _stricter(name, now[name], then[name]):
            shown = [None if value in (default, None) else value for value in (then[name], now[name])]
            differences.append(Difference(f"project.{name}", *shown))
            now[name] = then[name]
    for kind in ("epics", "tasks"):
        known, said = accepted.get(kind, {}), stated.get(kind, {})
        differences += [
            Difference(f"verify of {name}", known.get(name), said.get(name))
            for name in (*said, *(one for one in known if one not in said and one in present))
            if said.get(name) != known.get(name)
        ]
    holds = {name: value for name, value in now.items() if value != _DEFAULTS[name]}
    return {"project": holds, "epics": accepted.get("epics", {}), "tasks": accepted.get("tasks", {})}, differences


def waits(differences: list[Difference]) -> str | None:
    """One line for people, or None when nothing waits."""
    if not differences:
        return None
    names = [one.name for one in differences]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"roadmap.yaml states what no person has accepted: {', '.join(names[:5])}{more}. What was accepted before holds; see"
        " wvo-mcp trust"
    )


_DEFAULTS: Stated = {
    "target": None,
    "setup": None,
    "verify": [],
    "verify_timeout": 600,
    "env": [],
    "merge": {"policy": "rebase", "mode": "local", "max_waiting": 10},
    "review": "off",
}

_FORBIDS_MORE: Mapping[str, Callable[[Any, Any], bool]] = {
    "verify_timeout": lambda stated, accepted: stated < accepted,
    "env": lambda stated, accepted: set(stated) <= set(accepted),
    "review": lambda stated, accepted: _STRICTNESS.index(stated) > _STRICTNESS.index(accepted),
}
_STRICTNESS = [review.value for review in Review]


def _stricter(name: str, stated: Any, accepted: Any) -> bool:
    judge = _FORBIDS_MORE.get(name)
    return judge is not None and judge(stated, accepted)


def _json(value: Any) -> Any:
    if isinstance(value, MergeRules):
        return {"policy": value.policy.value, "mode": value.mode.value, "max_waiting": value.max_waiting}
    if isinstance(value, tuple):
        return list(cast("Commands", value))
    return str(value) if isinstance(value, StrEnum) else value


def _merge_rules(values: Mapping[str, Any]) -> MergeRules:
    policy, mode = MergePolicy(values["policy"]), MergeMode(values["mode"])
    return MergeRules(policy=policy, mode=mode, max_waiting=values["max_waiting"])
