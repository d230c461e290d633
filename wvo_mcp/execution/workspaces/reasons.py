"""Why there is no place for a task, in words that people and agents act on."""

from collections.abc import Generator
from contextlib import contextmanager

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import preparing, rollback
from wvo_mcp.execution.workspaces.alone import Busy
from wvo_mcp.execution.workspaces.repository import Tampered, means_full
from wvo_mcp.ports.places import PlaceFailed, Problem


@contextmanager
def as_place_failed(task_id: str) -> Generator[None]:
    """What goes wrong within, as PlaceFailed."""
    try:
        yield
    except Tampered as error:
        problem = Problem.TAMPERED
        raise PlaceFailed(f"The repository's own files were changed: {error}", problem=problem) from None
    except Busy:
        text = f"No worktree for {task_id} yet: another process is making or removing one."
        raise PlaceFailed(text, problem=Problem.BUSY) from None
    except preparing.NotPrepared as error:
        raise PlaceFailed(str(error), error.tail) from None
    except (GitFailed, OSError, rollback.NotPossible) as error:
        problem = Problem.FULL if means_full(str(error)) else Problem.OTHER
        raise PlaceFailed(f"No worktree for {task_id}: {error}.", problem=problem) from None
