"""A wrong value in the environment stops the start with one line: the variable, the value, what is allowed."""

from pathlib import Path

import pytest

from tests.support import forked
from tests.support.workspace import Workspace
from wvo_mcp.project import WrongSetting
from wvo_mcp.settings import load

pytestmark = pytest.mark.sqlite

WRONG = {
    "WVO_TOOLSETS": ("core,magic", "core"),
    "WVO_AGENT_ID": ("no spaces allowed", "A-Za-z0-9"),
    "WVO_PROVIDER": ("acme", "claude"),
    "WVO_DATABASE_URL": ("mysql://somewhere/else", "SQLite"),
    "WVO_EPICS": ("SHOP,two words", "ids"),
    "WVO_AUTOPILOT_AGENTS": ("0", "1"),
    "WVO_AUTOPILOT_WIP_LIMIT": ("none", "integer"),
    "WVO_AGENT_WIP_LIMIT": ("-1", "1"),
    "WVO_AUTOPILOT_MAX_ITERATIONS": ("1.5", "integer"),
    "WVO_AUTOPILOT_HEALTH_INTERVAL_MS": ("604800001", "604800000"),
    "WVO_AUTOPILOT_HEALTH_AUTO_REMEDIATE": ("perhaps", "boolean"),
    "WVO_AUTOPILOT_STALE_TASK_MINUTES": ("inf", "525600"),
    "WVO_LEASE_SECONDS": ("0", "1"),
    "WVO_LEASE_GRACE_SECONDS": ("-1", "0"),
    "WVO_QUIET_MAX_SECONDS": ("0", "1"),
    "WVO_SQLITE_SYNCHRONOUS": ("OFF", "NORMAL"),
    "WVO_ALERT_COMMAND": ("say 'unclosed", "quoted"),
    "WVO_ALERT_MIN_SEVERITY": ("loud", "warning"),
    "WVO_JWT_JWKS_URL": ("http://issuer.example/keys", "https://"),
    "OTEL_ENABLED": ("maybe", "boolean"),
}


def check(lines: list[str], variable: str) -> None:
    value, allowed = WRONG[variable]
    assert len(lines) == 1, lines
    assert f"{variable}=" in lines[0]
    assert value.rsplit("@", 1)[-1] in lines[0]
    assert allowed in lines[0].split(value, 1)[1]


@pytest.mark.requirement("CORE-1", "CORE-7")
@pytest.mark.parametrize("variable", ["WVO_TOOLSETS", "WVO_LEASE_SECONDS"])
def test_a_wrong_setting_stops_the_server_with_one_line(workspace: Workspace, variable: str) -> None:
    workspace.settings = {variable: WRONG[variable][0]}

    refused = workspace.spawn("ann")

    assert refused.wait(120) == 2
    check(refused.log.read_text().splitlines(), variable)
    assert not workspace.database.exists()


@pytest.mark.requirement("CORE-1", "CORE-7")
@pytest.mark.parametrize("variable", sorted(WRONG))
def test_a_wrong_setting_stops_a_command_with_one_line(workspace: Workspace, variable: str) -> None:
    environ = workspace.environ(**{variable: WRONG[variable][0]})
    told = forked.run(["wvo_mcp", "plan-next"], env=environ, cwd=workspace.root)

    assert told.returncode == 2
    assert told.stdout == ""
    check(told.stderr.splitlines(), variable)
    assert not workspace.database.exists()


@pytest.mark.requirement("HEALTH-3")
@pytest.mark.parametrize(
    ("settings", "named", "allowed"),
    [
        ({"WVO_ALERT_WEBHOOK_URL": "ftp://hidden"}, "WVO_ALERT_WEBHOOK_URL", "https://"),
        ({"WVO_ALERT_WEBHOOK_URL": "https://hidden"}, "WVO_ALERT_WEBHOOK_SECRET", "signed"),
        ({"WVO_ALERT_WEBHOOK_SECRET": "hidden"}, "WVO_ALERT_WEBHOOK_SECRET", "16 characters"),
        ({"WVO_ALERT_WEBHOOK_SECRET": "whsec_hidden-and-no-base64"}, "WVO_ALERT_WEBHOOK_SECRET", "base64"),
    ],
)
def test_a_wrong_webhook_is_told_without_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], named: str, allowed: str
) -> None:
    for name, value in {"ROOT": str(tmp_path), **settings}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(WrongSetting) as raised:
        load()

    assert str(raised.value).startswith(f"{named}=")
    assert allowed in str(raised.value)
    assert "hidden" not in str(raised.value)
