"""What a copy of the project's folder changed is put into that folder, or the agent hears why not and what to do."""

from wvo_mcp.errors import Conflict, StoreUnavailable
from wvo_mcp.ports.checkpoints import Content, NoPromotion, Promoted, Promotions

_CORRECT = "Correct it in the workspace, then call it again."
_PERSON = (
    "Undo that, or let a person decide: wvo-mcp workspace-promote {task_id} promotes it as it is; then call it again."
)


async def promote(
    promotions: Promotions,
    task_id: str,
    lease_token: int | None,
    *,
    dry_run: bool = False,
    diff: int = 0,
    reviews: bool = False,
    passed: Content | None = None,
) -> Promoted | None:
    """None where the task has no copy here. No `lease_token`: a person asks. Raises Conflict, StoreUnavailable (full disk)."""
    try:
        return await promotions.promote(
            task_id, lease_token, dry_run=dry_run, diff=diff, reviews=reviews, passed=passed
        )
    except NoPromotion as error:
        text = f"The work of {task_id} was not promoted. {error}"
        if error.full:
            raise StoreUnavailable(text, hint="Free some space, then call it again.") from None
        hint = _PERSON.format(task_id=task_id) if error.violations else _CORRECT
        raise Conflict(text, hint=hint) from None
