"""What a call does to the world is declared as it is; a part that is not used answers one error."""

from dataclasses import replace

import pytest

from tests.support.bench import OWNER, Bench
from wvo_mcp.errors import NotConfigured
from wvo_mcp.operations import ALL, Effect


def test_what_replaces_a_file_or_runs_a_program_is_no_read() -> None:
    assert ALL["export_tasks"].effect is Effect.DESTRUCTIVE
    assert ALL["auth_status"].effect is Effect.EXTERNAL


@pytest.mark.anyio
@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("health_check", {}),
        ("health_run", {}),
        ("backup_create", {}),
        ("backup_list", {}),
        ("context_snapshot", {}),
        ("import_tasks", {"path": "a.jsonl"}),
        ("export_tasks", {"path": "a.jsonl"}),
        ("provider_status", {}),
        ("auth_status", {}),
        ("route_task", {}),
        ("routing_mode", {}),
        ("provider_report", {"provider": "claude", "tokens_in": 1}),
        ("budget_raise", {"scope": "provider", "name": "claude", "hourly": 1}),
        ("budget_show", {}),
    ],
)
async def test_a_part_that_is_not_used_here_answers_the_same_error_everywhere(
    bench: Bench, tool: str, arguments: dict[str, object]
) -> None:
    bench.services = replace(
        bench.services, health=None, backups=None, snapshots=None, exchange=None, providers=None, jobs=None
    )

    with pytest.raises(NotConfigured) as refused:
        await ALL[tool](bench.services, OWNER, arguments)

    error = refused.value
    assert (error.code, error.retryable) == ("not_configured", False)
    assert error.details["part"] in error.message
    assert error.hint
