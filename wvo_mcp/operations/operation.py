"""One declaration per thing the system can be asked to do; every face is a loop over the registry."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from wvo_mcp.domain.lease import Caller, Policy, Role, WorkerPass
from wvo_mcp.errors import Forbidden, InvalidInput, WvoError, problem_of
from wvo_mcp.operations import notices
from wvo_mcp.operations.container import Container, key_of
from wvo_mcp.operations.inputs import (
    PEOPLE_ONLY,
    DryRun,
    Held,
    Input,
    LeaseWrite,
    LongRunning,
    Output,
    Replayable,
    compact_schema,
)
from wvo_mcp.operations.replay import Repeat
from wvo_mcp.operations.results import fit, fit_beside
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.jobs import LongWork, OnProgress, Progress
from wvo_mcp.ports import Tracer, Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.rules import ProjectRules

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


class Workers(StrEnum):
    """What the connection of a worker, which is admitted by its key, may do with an operation."""

    NO = "no"
    ANY = "any"
    OWN = "own"
    """Where `task_id` is its own task, or left out."""


@dataclass(frozen=True, slots=True)
class Context:
    """One call: who calls, the limits, and the one transaction that the wrapper opened, if it did."""

    caller: Caller
    policy: Policy
    transaction: Transaction | None = None
    progress: Progress = field(default_factory=Progress)
    """Of long work: report to it how far you are."""
    prepared: object = None
    """What came of `First`."""

    @property
    def tx(self) -> Transaction:
        if self.transaction is None:
            raise RuntimeError("this operation manages its own transactions")
        return self.transaction


class First(Exception):
    """Raised within the transaction of a call: `work`, which must not be awaited there, is to be done first. The transaction
    is undone, and the call is made again with what came of it in `ctx.prepared`."""

    def __init__(self, work: Callable[[Container], Awaitable[object]]) -> None:
        super().__init__("to be done first")
        self.work = work


Run = Callable[..., Awaitable[Output]]
Precondition = Callable[[Transaction], Awaitable[None]]
_LAST = {name: None for mixin in (DryRun, LongRunning, Replayable) for name in mixin.model_fields}
"""Fields that come after those of the operation itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A registered operation. How a repeat is recognised (contract, section 6), and whether it is long work, is said by
    the mixins of its input model."""

    name: str
    summary: str
    effect: Effect
    toolset: str
    audience: Audience
    input_model: type[Input]
    output_model: type[Output]
    ports: Mapping[str, type]
    """What it declares as parameters, by their names."""
    run: Run
    idempotent: bool
    manages_own_transactions: bool
    always_load: bool
    role: Role
    workers: Workers
    people_only: frozenset[str] = field(init=False)
    """Fields for people."""
    _keys: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        people = (name for name, one in self.input_model.model_fields.items() if one.json_schema_extra == PEOPLE_ONLY)
        object.__setattr__(self, "people_only", frozenset(people))
        object.__setattr__(self, "_keys", {name: key_of(port) for name, port in self.ports.items()})

    @property
    def long(self) -> bool:
        return issubclass(self.input_model, LongRunning)

    @property
    def remote_role(self) -> Role:
        """Of who asks over HTTP, where no terminal shows that a person does: what is for people needs one who decides."""
        return max(self.role, Role.OPERATOR) if self.audience is Audience.PEOPLE else self.role

    @property
    def lease_write(self) -> bool:
        return issubclass(self.input_model, LeaseWrite)

    @property
    def takes_request_id(self) -> bool:
        return issubclass(self.input_model, Replayable)

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """Of the input, its own before those that many operations have."""
        fields = self.input_model.model_fields
        return {name: fields[name] for name in sorted(fields, key=lambda name: name in _LAST)}

    @property
    def schema(self) -> dict[str, Any]:
        """The input as JSON schema, without what no model needs to read."""
        schema = self.input_model.model_json_schema()
        schema.pop("description", None)
        shown = [name for name in self.fields if name not in self.people_only]
        return compact_schema({**schema, "properties": {name: schema["properties"][name] for name in shown}})

    def parse(self, arguments: Mapping[str, Any] | None) -> Input:
        """Raises InvalidInput that names the first wrong field; `details.problems` has up to ten."""
        try:
            return self.input_model.model_validate(dict(arguments or {}))
        except ValidationError as error:
            raise _invalid(self, error) from None

    async def __call__(
        self,
        container: Container,
        caller: Caller,
        arguments: Mapping[str, Any] | None,
        on_progress: OnProgress | None = None,
        *,
        first: Precondition | None = None,
    ) -> dict[str, Any]:
        """Validate, run in one transaction, and give the JSON-ready result, at most 20,000 characters of compact JSON.

        `on_progress` is called with the progress of long work while the caller waits for it. `first` is awaited at the
        beginning of the transaction, or before the work of an operation that manages its own: what it raises ends the call.
        """
        with container.get(Tracer).call(self.name, caller, arguments):
            params = self._admitted(caller, arguments)
            return await self._answer(container, caller, params, on_progress, first)

    def _admitted(self, caller: Caller, arguments: Mapping[str, Any] | None) -> Input:
        """The one place where a caller's role is judged. Raises Forbidden, InvalidInput."""
        caller.admit(self.role, self.name)
        params = self.parse(arguments)
        if caller.admitted is not None:
            self._check_worker(caller.admitted, params)
        for name in self.people_only & params.model_fields_set:
            caller.admit(Role.OPERATOR, f"{name} of {self.name}")
        return params

    def _check_worker(self, admitted: WorkerPass, params: Input) -> None:
        """Raises Forbidden."""
        own, named = admitted.task_id, getattr(params, "task_id", None)
        if self.workers is Workers.NO or (self.workers is Workers.OWN and named not in (None, own)):
            what = self.name if self.workers is Workers.NO else f"{self.name} of {named}"
            raise Forbidden(
                f"{what} is not for the worker {admitted.worker_id}: it works on {own} alone.",
                hint=f"Finish {own}. Further work goes into create_tasks (parent_id {own}), a question to a person into"
                " approval_request.",
                task_id=own,
            )

    async def _answer(
        self,
        container: Container,
        caller: Caller,
        params: Input,
        on_progress: OnProgress | None,
        before: Precondition | None,
    ) -> dict[str, Any]:
        parts = {name: container.part(key) for name, key in self._keys.items()}
        if self.input_model is not Input:
            parts["params"] = params
        policy = container.get(Policy)
        if Providers in self.ports.values():
            await container.get(Providers).refresh()  # their file is never read within a transaction
        if ProjectRules in self.ports.values():
            await container.get(ProjectRules).refresh()

        def made(
            tx: Transaction | None, progress: Progress | None = None, prepared: object = None
        ) -> Awaitable[Output]:
            return self.run(Context(caller, policy, tx, progress or Progress(), prepared), **parts)

        store = container.get(WatchedStore)
        if before is not None and (self.manages_own_transactions or isinstance(params, LongRunning)):
            await store.read(caller, before)
        if isinstance(params, LongRunning):
            return await self._long(container, caller, params, made, on_progress)
        if self.manages_own_transactions:
            if caller.admitted is not None and self.effect is not Effect.READ:
                await store.read(caller, partial(_still_admitted, admitted=caller.admitted))
            try:
                result = dump(await made(None))
            except WvoError as error:
                await _followed(store, caller, error)
                raise
            return fit_beside(result, await notices.of_call(store, caller))
        if self.effect is Effect.READ:
            told: list[bool] = []

            async def looked(tx: Transaction) -> Output:
                if not notices.is_told(caller):
                    return await made(tx)
                await messages.prefetch(tx)
                output = await made(tx)
                told[:] = [await messages.waiting(tx)]
                return output

            result = dump(await store.read(caller, looked))
            return fit_beside(result, await notices.collected(store, caller) if any(told) else [])
        keep = not params.is_dry_run

        async def once(tx: Transaction, prepared: object = None) -> dict[str, Any]:
            if before is not None:
                await before(tx)
            if keep and notices.is_told(caller):
                await messages.prefetch(tx)
            repeat = Repeat(tx, policy, self.name, params)
            first = await repeat.first_result()
            if first is not None:
                return first
            if caller.admitted is not None:
                await _still_admitted(tx, caller.admitted)
            output = await made(tx, None, prepared)
            told = await messages.collect(tx) if keep and notices.is_told(caller) else []
            result = fit_beside(dump(output), told)
            if output.answers_repeats:
                await repeat.keep(result)
            return result

        try:
            try:
                return await store.write(caller, once, keep=keep)
            except First as first:
                prepared = await first.work(container)
                return await store.write(caller, partial(once, prepared=prepared), keep=keep)
        except WvoError as error:
            if keep:
                await _followed(store, caller, error)
            raise

    async def _long(
        self,
        container: Container,
        caller: Caller,
        params: LongRunning,
        made: Callable[[None, Progress], Awaitable[Output]],
        on_progress: OnProgress | None,
    ) -> dict[str, Any]:
        async def work(progress: Progress) -> dict[str, Any]:
            return fit(dump(await made(None, progress)))

        jobs = container.get(LongWork)
        if params.handle is not None:
            return await jobs.poll(self.name, params.handle, on_progress)
        return await jobs.ask(caller, self.name, params.model_dump(mode="json"), work, on_progress)


async def _still_admitted(tx: Transaction, admitted: WorkerPass) -> None:
    from wvo_mcp.orchestration.tasks import admission  # only workers are admitted

    await admission.check(tx, admitted)


async def _followed(store: WatchedStore, caller: Caller, error: WvoError) -> None:
    if error.follow_up is not None:
        with suppress(WvoError):  # what the caller is shown is why the call failed
            await store.write(caller, error.follow_up)


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
    manages_own_transactions: bool = False,
    always_load: bool = False,
    role: Role | None = None,
    workers: Workers | None = None,
) -> Callable[[Run], Run]:
    """Register `async def name(ctx: Context, params: In, port: Port, ...) -> Out`; its docstring becomes the tool's
    description. Without input it has no `params`. Further parameters are ports, which the container provides by their types.

    `idempotent` defaults to reads and lease writes. Operations that take long, or that touch more than the store, open
    their own transactions. `always_load` marks the tools that a client should show from the first turn. Who may call it is
    `role`: by default a viewer what only reads, an agent the rest. Of these calls a worker may make what `workers` says: by
    default it reads, and writes what needs the lease of its own task.
    """

    def register(run: Run) -> Run:
        hints = get_type_hints(run)
        name = run.__name__
        if name in ALL or not run.__doc__:
            raise TypeError(f"Operation {name!r} needs a unique name and a docstring.")
        output_model, input_model = hints.pop("return"), hints.pop("params", Input)
        del hints["ctx"]
        repeats = effect is Effect.READ or issubclass(input_model, LeaseWrite)
        ALL[name] = Operation(
            name=name,
            summary=" ".join(run.__doc__.split()),
            effect=effect,
            toolset=toolset,
            audience=audience,
            input_model=input_model,
            output_model=output_model,
            ports=hints,
            run=run,
            idempotent=repeats if idempotent is None else idempotent,
            manages_own_transactions=manages_own_transactions,
            always_load=always_load,
            role=role or (Role.VIEWER if effect is Effect.READ else Role.AGENT),
            workers=workers or (Workers.ANY if effect is Effect.READ else _by_lease(input_model)),
        )
        return run

    return register


def _by_lease(input_model: type[Input]) -> Workers:
    return Workers.OWN if issubclass(input_model, Held) else Workers.NO


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
        return f"unknown field; {op.name} takes {', '.join(op.fields)}"
    if item["type"] == "missing":
        return "is required"
    return problem_of(item)
