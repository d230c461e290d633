"""The prompts: the four ways in which a person sets an agent to work here."""

from collections.abc import Mapping
from dataclasses import dataclass

import mcp_types as types
from mcp import MCPError

INSTRUCTIONS = """\
wvo-mcp decides which task comes next, who holds it, and remembers what was learned. Other agents work from the same \
queue: pull your work from it.

The loop:
1. claim_task takes the best ready task. Read all it returns: `resume` is the last checkpoint of whoever worked on it \
before, `context` is what the project knows. To choose yourself, look with plan_next and claim that task_id.
2. Work. After each step that would hurt to lose, checkpoint with a summary and next_steps: it is all that your \
successor, or you after a restart, will have. context_write what others should know; context_read before you \
research.
3. complete_task with a summary once the acceptance criteria hold. It names what this unlocked. Claim again.

If you cannot finish: fail_task with the error (tried and failed; it comes back after a delay), block_task with the \
reason (something must happen first; name tasks in waiting_for) or release_task with the reason (you just stop). \
Never leave a task silently. Work that you discover goes into create_tasks with depends_on; do not widen the task you hold.

The lease: a claim gives lease.token. On the connection that claimed you may leave lease_token out; on another one \
send it with every write. The server renews the lease while you are connected; heartbeat only reports progress. \
`stale_lease` means the task is no longer yours: stop, then claim again. If you lost track, claim_task gives your \
own task back or names it in `holding`.

Errors carry code, retryable and hint; follow the hint. If retryable, call again later with the same input. Where a \
tool takes request_id, send one of your own making: a repeat with the same id is answered, not done twice. When \
claim_task returns no task, wait retry_after seconds or stop.

Subagents that share this connection each pass an agent_id of their own (such as `main-tests`) to plan_next, \
claim_task and list_tasks.

Never edit state/state.db. Approving, pausing and cancelling work in progress are for people."""


@dataclass(frozen=True, slots=True)
class _Argument:
    """`absent` stands in the text when the argument is left out; None makes it required."""

    description: str
    absent: str | None = None
    present: str = "{}"


@dataclass(frozen=True, slots=True)
class _Prompt:
    """`text` has a {slot} for every argument."""

    title: str
    description: str
    text: str
    arguments: Mapping[str, _Argument]


_PROMPTS = {
    "work": _Prompt(
        "Work through the queue",
        "Claim tasks, finish them one after the other, and stop when nothing is ready.",
        """\
Work through the task queue of this project with the wvo tools.

Start with {task}. Then, until claim_task returns no task:
1. Read the task, its acceptance criteria, `resume` and `context`. If `resume` is there, continue from its next_steps \
instead of starting over.
2. Search context_read for the topics that the task touches before you research anything yourself.
3. Do the work in small steps. After each, call checkpoint with what is done and what comes next.
4. Check every acceptance criterion by running something, not by reading. Then call complete_task with a summary that \
names what changed, and list the files in artifacts.
5. Write lasting knowledge (decisions, traps, commands that work) with context_write.

If you are stuck after three honest attempts, call fail_task or block_task with the reason and claim the next task. \
When no task comes back, report what you finished, what you gave back and why, and stop.""",
        {"task": _Argument("Id of the task to begin with.", "the best ready task (claim_task without task_id)")},
    ),
    "plan": _Prompt(
        "Plan a goal as tasks",
        "Break a goal into tasks with dependencies, acceptance criteria and complexity.",
        """\
Plan this goal as tasks in the queue: {goal}

1. Look at what exists: list_tasks and context_read for the parts that the goal touches. Do not plan what is planned.
2. Break the goal into tasks that one agent finishes in one sitting (complexity 1 to 10; split what is above 7). Each \
gets a title that says the outcome, a description with what a stranger must know, acceptance criteria that can be \
checked by running something, and `files` globs where you know them, so that parallel work does not collide.
3. Let depends_on hold true needs only: every needless dependency makes somebody wait.
4. Call create_tasks with dry_run true, mend what it refuses, show the plan as a table, then create it for good.
5. Call plan_next and say which tasks can start now, and why the first one is first.""",
        {"goal": _Argument("What should be reached, in a sentence or more.")},
    ),
    "review": _Prompt(
        "Review a task",
        "Check the work of a task against its acceptance criteria and write down the findings.",
        """\
Review the work of task {task_id}.

1. Read it with get_task: description, acceptance criteria, checkpoints, events and context.
2. Read the change itself, then run what proves or refutes each criterion. Try the input that the author did not try.
3. Judge each criterion: met, not met, or not checkable, with the evidence (command and outcome, file and line).
4. Say the verdict first, in at most 200 words: approved; concern (name it); or blocker (name what must change).
5. Keep the findings: context_write with topic `review-{task_id}` and task_id {task_id}. Propose follow-up work with \
create_tasks; do not change the reviewed work yourself.""",
        {"task_id": _Argument("Id of the task to review.")},
    ),
    "triage": _Prompt(
        "Triage what is stuck",
        "Find out why work does not move, and propose what to do about each case.",
        """\
Find out why work does not move{epic}, and propose remedies.

1. plan_next: what is ready, what is not and for which reason. list_tasks with status blocked, failed and \
awaiting_approval.
2. For each case read get_task: last events, checkpoints, the reason given. Find the cause, not the symptom.
3. Sort into: can be mended now by an agent (a missing or needless dependency: update_task; an unclear task: better \
description and criteria), needs a person (approval, access, a decision), must wait (name what for).
4. Do the first kind only if it changes nothing that a person decided. For the second, write one clear question each.
5. Answer with a table: task, cause, remedy, who. Most unlocking first.""",
        {"epic": _Argument("Id of the epic to look at; all when left out.", "", " in epic {}")},
    ),
}


def listed() -> list[types.Prompt]:
    return [
        types.Prompt(
            name=name,
            title=prompt.title,
            description=prompt.description,
            arguments=[
                types.PromptArgument(name=slot, description=argument.description, required=argument.absent is None)
                for slot, argument in prompt.arguments.items()
            ],
        )
        for name, prompt in _PROMPTS.items()
    ]


def rendered(name: str, given: Mapping[str, str]) -> types.GetPromptResult:
    """The prompt with its slots filled. Raises MCPError (invalid params) for an unknown prompt or argument."""
    prompt = _PROMPTS.get(name)
    if prompt is None:
        raise MCPError(types.INVALID_PARAMS, f"No prompt {name!r}. There are: {', '.join(_PROMPTS)}.")
    unknown = sorted(set(given) - set(prompt.arguments))
    if unknown:
        raise MCPError(types.INVALID_PARAMS, f"{unknown[0]}: prompt {name} takes {', '.join(prompt.arguments)}.")
    slots: dict[str, str] = {}
    for slot, argument in prompt.arguments.items():
        value = given.get(slot, "").strip()
        filled = argument.present.format(value) if value else argument.absent
        if filled is None:
            raise MCPError(types.INVALID_PARAMS, f"{slot}: prompt {name} needs it.")
        slots[slot] = filled
    text = prompt.text.format(**slots)
    return types.GetPromptResult(
        description=prompt.description,
        messages=[types.PromptMessage(role="user", content=types.TextContent(text=text))],
    )
