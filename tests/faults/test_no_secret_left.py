"""Secrets that reach the product by every way it has are nowhere afterwards, but in what an agent wrote on purpose."""

import json
import secrets
import subprocess
import sys

import pytest

from tests.support.invariants import looked_at
from tests.support.receiver import receiving
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

PROVIDERS = """
providers:
  mine:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9/v1
    key_env: ODDLY_NAMED
    limits: {hourly: 1000000}
    tiers: {low: {model: small}, medium: {model: middle}, high: {model: large}}
"""


@pytest.mark.full_on_postgres
@pytest.mark.requirement("SAFE-3")
def test_no_planted_secret_is_found_anywhere(workspace: Workspace) -> None:
    odd, named = f"house-{secrets.token_hex(8)}", f"own/{secrets.token_hex(9)}+x="
    shaped, password = "sk-ant-api03-" + "aB3-" * 20, f"pw-{secrets.token_hex(6)}"
    hook, signing = f"hook-{secrets.token_hex(12)}", f"sign-{secrets.token_hex(12)}"
    on_purpose = "ghp_" + secrets.token_hex(18)
    planted = [odd, named, shaped, password, hook, signing]
    printed = (
        f"API Error: 401 invalid x-api-key {odd}\n"
        f"  request: POST http://127.0.0.1/v1?key={named} Authorization: Bearer {shaped}\n"
        f"  postgresql://wvo:{password}@db.example/wvo refused; {json.dumps({'webhook': hook, 'sign': signing})}"
    )
    (workspace.root / "state").mkdir(parents=True)
    (workspace.root / "state" / "providers.yaml").write_text(PROVIDERS)
    accept = [sys.executable, "-m", "wvo_mcp", "trust", "--yes"]
    subprocess.run(accept, env=workspace.environ(), cwd=workspace.root, check=True, capture_output=True)
    with receiving() as channel:
        workspace.settings = {
            "ODDLY_NAMED": odd,
            "THEIR_API_KEY": named,
            "OTHER_STORE": f"postgresql://wvo:{password}@db.example/wvo",
            "WVO_ALERT_WEBHOOK_URL": f"{channel.url}/{hook}",
            "WVO_ALERT_WEBHOOK_SECRET": signing,
            "WVO_TOOLSETS": "core,providers",
            "OTEL_ENABLED": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        ann = workspace.server("ann")
        ann.call("create_tasks", some_tasks("A", "B", "C"))
        answered: list[object] = [ann.call("claim_task", {"task_id": "A"})]
        ann.call("context_write", {"topic": "keys", "content": f"use {on_purpose}"})
        ann.call("fail_task", {"task_id": "A", "error": printed, "retry": False})
        answered += [ann.call("get_task", {"task_id": "A"}), ann.call("claim_task", {"task_id": "B"})]
        ann.call("block_task", {"task_id": "B", "reason": printed})
        claimed = ann.call("claim_task", {"task_id": "C"})
        assert claimed["task"]["id"] == "C"
        attempt = {"task_id": "C", "provider": "mine", "lease_token": claimed["lease"]["token"], "tokens_in": 7}
        failed = {"output": printed, "error": printed, "exit_code": 1, "outcome": "auth", "model": named}
        answered += [ann.call("provider_report", {**attempt, **failed}), ann.call("provider_status")]
        answered.append(ann.call("auth_status"))
        ann.call("release_task", {"task_id": "C", "reason": printed})
        answered.append(ann.call("get_task", {"task_id": "B"}))
        for wrong in planted:
            with pytest.raises(Refused) as refused:
                ann.call("get_task", {"task_id": wrong})
            answered.append([str(refused.value), refused.value.details])
        eventually(lambda: bool(channel.got))
        told = "".join(f"{got.headers}{got.body.decode()}" for got in channel.got)
        program = [sys.executable, "-m", "wvo_mcp"]
        asked = [[*program, "get-task", named, *json_] for json_ in ([], ["--json"])]
        raised = [*program, "budget", "raise", "provider", "mine", "--hourly", "9", "--reason", printed]
        assert subprocess.run(raised, env=workspace.environ(), cwd=workspace.root, check=False).returncode == 0
        # A command that never reads providers.yaml knows its keys as well.
        added = [*program, "block-task", "C", "--reason", printed]
        assert subprocess.run(added, env=workspace.environ(), cwd=workspace.root, check=False).returncode == 0
        for arguments in asked:
            done = subprocess.run(
                arguments, env=workspace.environ(), cwd=workspace.root, capture_output=True, check=False, text=True
            )
            assert done.returncode == 1
            told += done.stdout + done.stderr
        assert ann.end() == 0
    told += json.dumps(answered) + workspace.logged()
    assert "[redacted]" in told and not [value for value in planted if value in told]

    kept = {
        str(path.relative_to(workspace.root)): path.read_bytes()
        for path in workspace.root.rglob("*")
        if path.is_file() and path.name != "providers.yaml"
    }
    assert "state/telemetry/traces.jsonl" in kept and ("state/state.db" in kept) == (workspace.url is None)
    for name, content in kept.items():
        assert not [value for value in planted if value.encode() in content], name
    with looked_at(workspace.source) as database:
        tables: list[str] = database.column(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if workspace.url is None
            else "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        rows = {table: str(database.rows(f'SELECT * FROM "{table}"')) for table in tables}
    assert {"events", "tasks", "usage", "alerts"} <= rows.keys()
    assert not [table for table, text in rows.items() if any(value in text for value in planted)]
    where = {table for table, text in rows.items() if on_purpose in text}
    # What an agent writes for others to read stays as it wrote it, in the memory and in the index that searches it.
    assert where and all(table.startswith("context") for table in where), where
