"""What an agent is told when it connects. Under 2,000 characters: it is read at the start of every session."""

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
