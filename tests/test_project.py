"""Where the project is, and what its settings file adds to the environment."""

from importlib import metadata
from pathlib import Path

import pytest

from wvo_mcp.project import KNOWN, OF_A_PROJECT, Project, WrongSetting, installed_version
from wvo_mcp.settings import Settings, settings_of


class Place:
    """A project whose settings file can be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "state" / "settings.yaml"
        self.file.parent.mkdir()

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self, **environ: str) -> Project:
        return Project(environ, str(self.root))

    def refused(self, text: str, **environ: str) -> str:
        """The line that refuses this file."""
        self.write(text)
        with pytest.raises(WrongSetting) as raised:
            settings_of(self.read(**environ))
        assert "\n" not in str(raised.value)
        return str(raised.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.requirement("CORE-12")
def test_what_stands_in_the_file_holds_and_the_environment_wins(place: Place) -> None:
    place.write(
        "# of everybody\nwip_limit: 5\nautopilot_agents: 7\nagent_wip_limit: 2\nhealth_auto_remediate: false\n"
        "toolsets: [core, plan]\notel_enabled: true\nlease_seconds: 60\nepics:\n"
        "database_url: ${STORE}\n"
    )

    settings = settings_of(place.read(STORE="postgresql://u:p@h/d", WVO_LEASE_SECONDS="90", WVO_AGENT_WIP_LIMIT=""))

    assert (settings.wip_limit, settings.agents, settings.agent_wip_limit) == (5, 7, 2)
    assert (settings.health_auto_remediate, settings.otel_enabled, settings.epics) == (False, True, None)
    assert settings.toolsets == {"core", "plan"}
    assert settings.lease_seconds == 90
    assert settings.database_url == "postgresql://u:p@h/d"


def test_every_setting_of_the_program_has_its_key_or_its_reason(place: Place) -> None:
    aliases = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert aliases - {"root", "root_reason", "referring"} == KNOWN

    for name in OF_A_PROJECT:
        for key in {name.lower(), name.removeprefix("WVO_").lower(), name.removeprefix("WVO_AUTOPILOT_").lower()}:
            if not key.startswith("wvo_") or f"WVO_{key.upper()}" not in KNOWN:
                place.write(f"{key.removeprefix('wvo_')}: ${{X}}\n")
                assert place.read(X="1").environ[name] == "1"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("wip_limit: 5\nlease_second: 9\n", 2, "lease_second: it is not a setting. Did you mean lease_seconds?"),
        ("\nlease_seconds: 0\n", 2, "lease_seconds='0': must be greater than or equal to 1"),
        ("WIP_LIMIT: 5\n", 1, "Did you mean wip_limit?"),
        ("wip_limit: 5\nautopilot_wip_limit: 6\n", 2, "set twice"),
        ("wip_limit: {a: 1}\n", 1, "wip_limit: expected one value, or a list of values"),
        ("a: 1\n- b\n", 2, "not YAML"),
        ("x\0y", 1, "not YAML"),
        ("- wip_limit\n", 1, "expected lines of 'key: value'"),
        ("agent_id: ann\n", 1, "it belongs to one agent"),
        ("state_dir: there\n", 1, "this file is in that folder"),
        ("lease_seconds: ${GONE}\n", 1, "GONE is not set in the environment; set it, or WVO_LEASE_SECONDS"),
        ("database_url: ${HIDDEN}\n", 1, "it begins with postgresql://"),
        ("lease_seconds: ${HIDDEN}\n", 1, "the value that it refers to is not allowed for WVO_LEASE_SECONDS"),
        ("epics: ${HIDDEN}\n", 1, "the value that it refers to is not allowed for WVO_EPICS"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(place: Place, text: str, line: int, told: str) -> None:
    refused = place.refused(text, HIDDEN="mysql://u:hidden@h")

    assert f"settings.yaml:{line}: " in refused
    assert told in refused
    assert "hidden" not in refused


@pytest.mark.parametrize("key", ["alert_command", "alert_webhook_url", "alert_webhook_secret"])
@pytest.mark.parametrize("value", ["anything", "${NAME}"])
def test_what_makes_us_run_or_send_something_is_refused(place: Place, key: str, value: str) -> None:
    assert "agents can write this file" in place.refused(f"{key}: {value}\n", NAME="x")


@pytest.mark.parametrize("value", ["postgresql://u:hidden@h/d", "postgresql://u:${PASSWORD}@elsewhere/d"])
def test_an_address_of_a_store_is_taken_from_the_environment_only(place: Place, value: str) -> None:
    refused = place.refused(f"database_url: {value}\n", PASSWORD="hidden")

    assert "settings.yaml:1: database_url: allowed is ${NAME} alone" in refused
    assert "hidden" not in refused


def test_a_variable_that_means_nothing_is_told_with_what_was_meant(place: Place) -> None:
    place.write("database_url: ${WVO_OUR_STORE}\n")
    project = place.read(
        WVO_OUR_STORE="postgresql://h/d", WVO_LEASE_SECOND="9", WVO_COLOUR="red", WVO_TEST_FULL="1", WVO_EPICS="A"
    )

    assert project.warnings() == [
        "WVO_COLOUR is not a setting.",
        "WVO_LEASE_SECOND is not a setting. Did you mean WVO_LEASE_SECONDS?",
    ]


def test_a_root_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match=r"^ROOT='.*gone': it is not a folder"):
        settings_of(Project({"ROOT": str(tmp_path / "gone")}, str(tmp_path)))


def test_a_source_tree_that_was_never_installed_has_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_version() == metadata.version("wvo-mcp")

    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    assert installed_version() == "0"
