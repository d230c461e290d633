"""Input and output models, and what an input can do: mixins that the registry sees."""

from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from wvo_mcp.domain.text import Id

PEOPLE_ONLY: JsonDict = {"people_only": True}
"""`json_schema_extra` of a field of a tool that only people may fill: no schema shows it, and agents are refused."""

OrNull = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""Where the domain has an empty text, results have null."""
Dollars = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(description="US dollars.")]


def first(most: int) -> BeforeValidator:
    """A list or a text is shown up to so many entries or characters."""
    return BeforeValidator(lambda shown: shown[:most])


TaskId = Annotated[Id, Field(description="Task id.")]
Token = Annotated[
    int | None,
    Field(default=None, ge=0, le=2**62, description="Lease token; optional on the same connection."),
]


class Input(BaseModel):
    """Base of every input model: unknown fields are refused, by name."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @property
    def is_dry_run(self) -> bool:
        """Nothing is to be kept of it, neither in the store nor in a file."""
        return False


class Held(Input):
    """What the holder of a task sends with a write."""

    task_id: TaskId
    lease_token: Token


class LeaseWrite(Held):
    """A repeat with the token of the lease that did it answers the first result."""

    @property
    def looks_for_workspace(self) -> bool:
        """Will the call that is no repeat ask which workspace the task has?"""
        return False


class Replayable(Input):
    """A repeat with the same request_id answers the first result."""

    request_id: Id | None = Field(default=None, description="Idempotency key: repeat with the same input.")

    @property
    def on_behalf_of(self) -> str | None:
        """The agent among whose requests it is, where that is not the caller."""
        return None


class DryRun(Input):
    """Can be tried."""

    dry_run: bool = Field(default=False, description="Check only; write nothing.")

    @property
    def is_dry_run(self) -> bool:
        return self.dry_run


class LongRunning(Input):
    """May take longer than a call should: answers a handle then, to call again with."""

    handle: Id | None = Field(default=None, description="Handle of a running call, to poll it.")


class Output(BaseModel):
    """Base of every output model. A field with a default (null, or empty) is left out of the result when it has it; one
    without is always there."""

    model_config = ConfigDict(frozen=True, defer_build=True, from_attributes=True)

    @classmethod
    def of(cls, *sources: object, **more: object) -> Self:
        """What a row, or the first object with an attribute of that name, has of it; `more` beside or instead. Models
        within it are filled from objects in the same way."""
        if len(sources) == 1 and not more:
            return cls.model_validate(sources[0])
        given = dict(more)
        for source in sources:
            for name, field in cls.model_fields.items():
                wanted = str(field.validation_alias or name)
                if wanted not in given and hasattr(source, wanted):
                    given[wanted] = getattr(source, wanted)
        return cls.model_validate(given)

    @property
    def answers_repeats(self) -> bool:
        """False for a result that granted nothing: a repeat of its call is judged again."""
        return True


_TOLD = 100_000
"""A bound beyond this only keeps nonsense out of the database; no model needs to read it."""


def compact_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema inlined, without titles, null alternatives, defaults of null, and what only a validator reads."""
    definitions = cast("dict[str, Any]", schema.pop("$defs", {}))
    return cast("dict[str, Any]", _compact(schema, definitions))


def _compact(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_compact(item, definitions) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    here = dict(cast("dict[str, Any]", node))
    if "$ref" in here:
        target = dict(definitions[str(here.pop("$ref")).rsplit("/", 1)[1]])
        target.pop("description", None)
        here = {**target, **here}
    alternatives = here.get("anyOf")
    if alternatives:
        real = [a for a in alternatives if a.get("type") != "null"]
        if len(real) == 1:
            del here["anyOf"]
            here = {**_compact(real[0], definitions), **here}
    if "default" in here and here["default"] in (None, [], False):
        del here["default"]
    for noise in ("title", "maxLength", "minLength", "maxItems", "minItems", "format", "pattern"):
        if noise in here and not isinstance(here[noise], dict):
            del here[noise]
    for bound in ("minimum", "maximum"):
        if here.get(bound) == 0 or abs(here.get(bound, 1)) > _TOLD:
            del here[bound]
    return {
        key: {name: _compact(value, definitions) for name, value in here[key].items()}
        if key == "properties"
        else _compact(value, definitions)
        for key, value in here.items()
    }
