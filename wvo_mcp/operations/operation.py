"""One declaration per thing the system can be asked to do; every face is a loop over the registry."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.config import JsonDict

from wvo_mcp.domain.lease import Caller, Policy, Role
from wvo_mcp.errors import InvalidInput, NotConfigured, WvoError, problem_of
from wvo_mcp.operations.replay import Repeat
from wvo_mcp.operations.results import fit
from wvo_mcp.operations.schema import compact_schema
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.jobs import Jobs, Progress, Tell, in_foreground, unknown
from wvo_mcp.ports import SILENT, Directives, RoadmapFiles, RoadmapHistory, Tracer, Transaction, WatchedStore
from wvo_mcp.ports.backups import Backups, Snapshots
from wvo_mcp.ports.exchange import Exchange
from wvo_mcp.ports.providers import Providers

T = TypeVar("T")


class Effect(StrEnum):
    """What a call does to the world; the MCP annotations, the HTTP method and the role follow from it."""

    READ = "read"
    """Store and files are as before."""
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    """Replaces what is not ours."""
    EXTERNAL = "external"
    """Runs programs that are not ours."""


class Audience(StrEnum):
    AGENTS = "agents"
    """A tool, and a command, and a route."""
    PEOPLE = "people"
    """A command and a control of the page; never a tool."""


PEOPLE_ONLY: JsonDict = {"people_only": True}
"""`json_schema_extra` of a field of a tool that only people may fill: no schema shows it, and agents are refused."""


class Input(BaseModel):
    """Base of every input model: unknown fields are refused, by name."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Output(BaseModel):
    """Base of every output model. A field with a default (null, or empty) is left out of the result when it has it; one
    without is always there."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @property
    def answers_repeats(self) -> bool:
        """False for a result that granted nothing: a repeat of its call is judged anew."""
        return True


@dataclass(frozen=True, slots=True)
class Services:
    """What operations may use; built once, in `app`."""

    store: WatchedStore
    policy: Policy
    roadmap: RoadmapFiles
    directives: Directives
    backups: Backups | None = None
    snapshots: Snapshots | None = None
    history: RoadmapHistory | None = None
    tracer: Tracer = SILENT
    health: HealthLoop | None = None
    exchange: Exchange | None = None
    providers: Providers | None = None
    """None: nothing is routed, and no budget kept."""
    jobs: Jobs | None = None
    """Where long work goes on in the background; None: it is done while the caller waits."""


@dataclass(frozen=True, slots=True)
class Context:
    """One call: who calls, the limits, and the one transaction that the wrapper opened (none for `outside` operations)."""

    services: Services
    caller: Caller
    transaction: Transaction | None = None
    progress: Progress = field(default_factory=Progress)
    """Of long work: tell it how far you are."""

    @property
    def tx(self) -> Transaction:
        if self.transaction is None:
            raise RuntimeError("an outside operation opens its own transactions")
        return self.transaction

    @property
    def policy(self) -> Policy:
        return self.services.policy

    @property
    def health(self) -> HealthLoop:
        return _configured(self.services.health, "Health monitoring", "It runs in every server: ask one.")

    @property
    def backups(self) -> Backups:
        return _configured(self.services.backups, "The folder of backups", "Set WVO_STATE_DIR.")

    @property
    def snapshots(self) -> Snapshots:
        return _configured(self.services.snapshots, "The folder of context snapshots", "Set WVO_STATE_DIR.")

    @property
    def exchange(self) -> Exchange:
        return _configured(self.services.exchange, "Access to files", "Set ROOT to the project, or give the text.")

    @property
    def providers(self) -> Providers:
        return _configured(self.services.providers, "Routing", "wvo-mcp init writes state/providers.yaml.")


def _configured(part: T | None, name: str, hint: str) -> T:
    """Raises NotConfigured."""
    if part is None:
        raise NotConfigured(name, hint)
    return part


Run = Callable[[Context, Any], Awaitable[Output]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A registered operation. `takes_request_id` and `lease_write` say how a repeat is recognised (contract, section 6)."""

    name: str
    summary: str
    effect: Effect
    toolset: str
    audience: Audience
    takes: type[Input]
    gives: type[Output]
    run: Run
    idempotent: bool
    lease_write: bool
    outside: bool
    always_load: bool
    long: bool
    role: Role
    routed: bool
    takes_request_id: bool = field(init=False)
    people_only: frozenset[str] = field(init=False)
    """Fields for people."""

    def __post_init__(self) -> None:
        fields = self.takes.model_fields
        object.__setattr__(self, "takes_request_id", "request_id" in fields)
        people = frozenset(name for name, one in fields.items() if one.json_schema_extra == PEOPLE_ONLY)
        object.__setattr__(self, "people_only", people)

    @property
    def schema(self) -> dict[str, Any]:
        """The input as JSON schema, without what no model needs to read."""
        schema = self.takes.model_json_schema()
        for name in self.people_only:
            del schema["properties"][name]
        return compact_schema(schema)

    def parse(self, arguments: Mapping[str, Any] | None) -> Input:
        """Raises InvalidInput that names the first wrong field; `details.problems` has up to ten."""
        try:
            return self.takes.model_validate(dict(arguments or {}))
        except ValidationError as error:
            raise _invalid(self, error) from None

    async def __call__(
        self, services: Services, caller: Caller, arguments: Mapping[str, Any] | None, tell: Tell | None = None
    ) -> dict[str, Any]:
        """Validate, run in one transaction, and give the JSON-ready result, at most 20,000 characters of compact JSON.

        `tell` hears of the progress of long work while it is waited for.
        """
        if services.tracer is SILENT:
            return await self._answer(services, caller, arguments, tell)
        with services.tracer.call(self.name, caller, arguments):
            return await self._answer(services, caller, arguments, tell)

    async def _answer(
        self, services: Services, caller: Caller, arguments: Mapping[str, Any] | None, tell: Tell | None
    ) -> dict[str, Any]:
        caller.admit(self.role, self.name)
        ask = self.parse(arguments)
        for name in self.people_only & ask.model_fields_set:
            caller.admit(Role.OPERATOR, f"{name} of {self.name}")
        if self.routed and services.providers is not None:
            await services.providers.refresh()
        if self.long:
            return await self._long(services, caller, ask, tell)
        if self.outside:
            return fit(dump(await self.run(Context(services, caller), ask)))
        if self.effect is Effect.READ:
            return fit(dump(await services.store.read(caller, lambda tx: self.run(Context(services, caller, tx), ask))))
        keep = not getattr(ask, "dry_run", False)
        try:
            return await services.store.write(
                caller, lambda tx: self._once(Context(services, caller, tx), ask), keep=keep
            )
        except WvoError as error:
            if error.aside is not None and keep:
                with suppress(WvoError):  # what the caller is told is why the call failed
                    await services.store.write(caller, error.aside)
            raise

    async def _long(self, services: Services, caller: Caller, ask: Input, tell: Tell | None) -> dict[str, Any]:
        async def work(progress: Progress) -> dict[str, Any]:
            return fit(dump(await self.run(Context(services, caller, progress=progress), ask)))

        handle: str | None = getattr(ask, "handle", None)
        jobs = services.jobs
        if handle is not None:
            if jobs is None:
                raise unknown(handle)
            return await jobs.poll(self.name, handle, tell)
        if jobs is None:
            return await in_foreground(self.name, work, tell)
        return await jobs.ask(caller, self.name, ask.model_dump(mode="json"), work, tell)

    async def _once(self, context: Context, ask: Input) -> dict[str, Any]:
        repeat = Repeat(context.tx, context.policy, self.name, ask, lease_write=self.lease_write)
        first = await repeat.first_result()
        if first is not None:
            return first
        made = await self.run(context, ask)
        result = fit(dump(made))
        if made.answers_repeats:
            await repeat.keep(result)
        return result


def dump(result: Output) -> dict[str, Any]:
    return result.model_dump(mode="json", exclude_defaults=True)


ALL: dict[str, Operation] = {}
"""The registry, in order of declaration."""


def operation(
    *,
    toolset: str,
    effect: Effect,
    audience: Audience = Audience.AGENTS,
    idempotent: bool | None = None,
    lease_write: bool = False,
    outside: bool = False,
    always_load: bool = False,
    long: bool = False,
    role: Role | None = None,
    routed: bool = False,
) -> Callable[[Callable[..., Awaitable[Output]]], Callable[..., Awaitable[Output]]]:
    """Register `async def name(ctx: Context, ask: In) -> Out`; its docstring becomes the tool's description.

    `idempotent` defaults to reads and lease writes. `outside` operations touch more than the store and open their own
    transactions. `always_load` marks the tools that a client should show from the first turn. `long` ones may take longer
    than a call should: they open their own transactions, tell `ctx.progress`, and take a `handle` to be asked again with.
    Who may call it is `role`: by default a viewer what only reads, an agent the rest.
    `routed` ones ask the providers: their file is read, when it has changed, before any transaction begins.
    """

    def register(run: Callable[..., Awaitable[Output]]) -> Callable[..., Awaitable[Output]]:
        hints = get_type_hints(run)
        name = run.__name__
        if name in ALL or not run.__doc__:
            raise TypeError(f"Operation {name!r} needs a unique name and a docstring.")
        ALL[name] = Operation(
            name=name,
            summary=" ".join(run.__doc__.split()),
            effect=effect,
            toolset=toolset,
            audience=audience,
            takes=hints["ask"],
            gives=hints["return"],
            run=run,
            idempotent=idempotent if idempotent is not None else (effect is Effect.READ or lease_write),
            lease_write=lease_write,
            outside=outside,
            always_load=always_load,
            long=long,
            role=role or (Role.VIEWER if effect is Effect.READ else Role.AGENT),
            routed=routed,
        )
        return run

    return register


def tools(toolsets: frozenset[str] | None = None) -> list[Operation]:
    """The operations that agents see; None means every toolset."""
    return [
        op for op in ALL.values() if op.audience is Audience.AGENTS and (toolsets is None or op.toolset in toolsets)
    ]


def _invalid(op: Operation, error: ValidationError) -> InvalidInput:
    problems = [
        {"field": ".".join(str(part) for part in item["loc"]) or "arguments", "problem": _plain(op, item)}
        for item in error.errors(include_url=False, include_context=False)[:10]
    ]
    first = problems[0]
    return InvalidInput(first["field"], first["problem"], problems=problems)


def _plain(op: Operation, item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
        return f"unknown field; {op.name} takes {', '.join(op.takes.model_fields)}"
    if item["type"] == "missing":
        return "is required"
    return problem_of(item)
