"""What is remembered: context_write, context_read."""

from pydantic import Field

from wvo_mcp.domain.memory import ContextEntry, Scope, newest, within
from wvo_mcp.domain.text import Id, Label, Prose, Text
from wvo_mcp.errors import NotFound
from wvo_mcp.operations.inputs import Input, Output, Replayable
from wvo_mcp.operations.operation import Context, Effect, Workers, operation
from wvo_mcp.orchestration.tasks.lifecycle import check_epic, existing


class ContextWrite(Replayable):
    topic: Label = Field(description="Topic; an existing one gets a new version.")
    content: Prose = Field(description="Text of the note.")
    tags: list[Label] = Field(default_factory=list, max_length=50, description="Tags.")
    task_id: Id | None = Field(default=None, description="Task it is about.")
    epic_id: Id | None = Field(default=None, description="Epic it is about.")


class ContextWritten(Output):
    topic: str
    version: int


@operation(toolset="core", effect=Effect.WRITE, always_load=True, workers=Workers.OWN)
async def context_write(ctx: Context, params: ContextWrite) -> ContextWritten:
    """Save a shared note for all agents: a decision, a finding, a pitfall. Versions are kept."""
    tx = ctx.tx
    await tx.sessions.ensure()
    scope = Scope.PROJECT
    if params.epic_id is not None:
        scope = Scope.EPIC
        await check_epic(tx, params.epic_id)
    if params.task_id is not None:
        scope = Scope.TASK
        await existing(tx, [params.task_id], "task_id")
    version = await tx.memory.write(params.topic, params.content, params.tags, scope, params.task_id, params.epic_id)
    await tx.events.append("context.written", params.task_id, {"topic": params.topic, "version": version})
    return ContextWritten(topic=params.topic, version=version)


class ContextRead(Input):
    topic: Label | None = Field(default=None, description="Topic to read, newest version first.")
    query: Text | None = Field(default=None, description="Words to search for, best match first.")
    task_id: Id | None = Field(default=None, description="Task it is about.")
    limit: int = Field(default=5, ge=1, le=100, description="Number of entries.")
    max_tokens: int = Field(default=2_000, ge=16, le=5_000, description="Maximum size of the answer in tokens.")


class ContextFound(Output):
    entries: list[ContextEntry]


@operation(toolset="core", effect=Effect.READ)
async def context_read(ctx: Context, params: ContextRead) -> ContextFound:
    """Read shared notes: a topic, a search, or (with neither) the latest."""
    memory = ctx.tx.memory
    if params.task_id is not None:
        await existing(ctx.tx, [params.task_id], "task_id")
    if params.topic is not None:
        entries = await memory.versions(params.topic, params.limit)
        if not entries:
            raise NotFound("topic", params.topic, await memory.topics_near(params.topic), field="topic")
    elif params.query is not None:
        entries = newest(await memory.search(params.query, params.task_id, params.limit, recent_only=False))
    else:
        entries = await memory.latest(params.task_id, params.limit)
    return ContextFound(entries=within(entries, params.max_tokens))
