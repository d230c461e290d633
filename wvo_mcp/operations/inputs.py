"""Input and output models, and what an input can do: mixins that the registry sees."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from wvo_mcp.domain.text import Id

PEOPLE_ONLY: JsonDict = {"people_only": True}
"""`json_schema_extra` of a field of a tool that only people may fill: no schema shows it, and agents are refused."""

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
    def of(cls, source: object) -> Self:
        """What a row, or an object with attributes of these names, has of it."""
        return cls.model_validate(source)

    @property
    def answers_repeats(self) -> bool:
        """False for a result that granted nothing: a repeat of its call is judged again."""
        return True
