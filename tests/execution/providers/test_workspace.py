"""The file of a workspace as it is edited while servers run."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.clock import StoppedClock
from tests.support.timing import least_seconds
from wvo_mcp.domain import known_secrets
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.providers.parse import defaults, packaged_text
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace

pytestmark = pytest.mark.requirement("PROV-1")

GOOD = "providers:\n  {0}:\n    kind: codex\n    limits: {{hourly: 5}}\n    tiers: {{low: {{model: m}}}}\n"


class Workspace:
    """A file, and a server that reads it at times that the test chooses."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state" / "providers.yaml"
        self.path.parent.mkdir()
        self.clock = StoppedClock()
        self.providers = ProvidersOfWorkspace(self.path, {"PATH": "/nowhere"}, self.clock)

    @property
    def known(self) -> ProvidersOfWorkspace:
        """The providers, when the file was looked at."""
        self.providers.read_changes()
        return self.providers

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def names(self) -> list[str]:
        return [one.name for one in self.known.current().providers]

    def looks(self, times: int = 2) -> list[str]:
        """What is known when the file was looked at so often, a second apart."""
        found: list[str] = []
        for _ in range(times):
            self.clock.advance(1)
            found = self.names()
        return found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_without_a_file_the_defaults_hold_without_limits(workspace: Workspace) -> None:
    assert workspace.known.current() == defaults()
    assert workspace.known.problem() is None


def test_a_file_that_is_there_is_read_at_once_and_its_limits_hold(workspace: Workspace) -> None:
    workspace.write(GOOD.format("one"))

    catalogue = workspace.known.current()

    assert [one.limits for one in catalogue.providers] == [Limits(5)]
    assert catalogue.digest


def test_a_settled_change_applies_and_a_removed_file_restores_the_defaults(
    workspace: Workspace,
) -> None:
    workspace.write(GOOD.format("one"))
    assert workspace.names() == ["one"]
    workspace.write(GOOD.format("two_"))

    assert workspace.names() == ["one"]  # not looked at more than once a second
    assert workspace.looks(1) == ["one"]  # it may be half written
    assert workspace.looks(1) == ["two_"]
    workspace.path.unlink()
    assert workspace.looks() == [one.name for one in defaults().providers]
    workspace.write(GOOD.format("three"))
    assert workspace.looks() == ["three"]


@pytest.mark.requirement("SAFE-3")
@pytest.mark.parametrize("rest", ["", "mode: both\n", "providers: {"])
def test_keys_are_known_before_the_file_is_read_and_whatever_is_wrong_with_it(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text(GOOD.format("one") + '    "key_env": ODD_NAME\n  two: {kind: codex, key_env: HOSTNAME}\n' + rest)
    environ = {"ODD_NAME": "other-value-4711-yz", "HOSTNAME": "builder-0815"}

    try:
        ProvidersOfWorkspace(path, environ, StoppedClock()).learn_keys()

        assert redact("other-value-4711-yz on builder-0815") == "[redacted] on builder-0815"
    finally:
        known_secrets._forms = ()


def test_a_server_that_nobody_asked_for_long_answers_by_the_file_as_it_is(workspace: Workspace) -> None:
    workspace.write("providers: {")
    with pytest.raises(InvalidInput):
        workspace.names()
    workspace.write(GOOD.format("one"))
    os.utime(workspace.path, (1_000_000_000, 1_000_000_000))  # mended long ago
    workspace.clock.advance(60)
    assert workspace.names() == ["one"]

    workspace.write(GOOD.format("two"))  # somebody is writing just now
    workspace.clock.advance(60)
    assert workspace.names() == ["one"]
    assert workspace.looks(1) == ["two"]


def test_a_link_that_leads_nowhere_does_not_take_the_limits_away(workspace: Workspace) -> None:
    workspace.write(GOOD.format("one"))
    assert workspace.names() == ["one"]
    workspace.path.unlink()
    workspace.path.symlink_to("elsewhere.yaml")

    assert workspace.looks() == ["one"]
    assert workspace.known.problem() == "state/providers.yaml is a link to a file that is not there."
    (workspace.path.parent / "elsewhere.yaml").write_text(GOOD.format("two"))
    assert workspace.looks() == ["two"]
    assert workspace.known.problem() is None


def test_half_a_file_that_is_valid_never_holds(workspace: Workspace) -> None:
    workspace.write(packaged_text())
    whole = workspace.known.current()
    workspace.write(packaged_text()[: packaged_text().index("  gemini:")])
    assert workspace.looks(1) == [one.name for one in whole.providers]
    workspace.write(packaged_text() + "# edited\n")

    assert workspace.looks(3) == [one.name for one in whole.providers]
    assert workspace.known.current().digest != whole.digest


def test_while_it_is_broken_the_last_good_one_holds_and_the_problem_is_told(workspace: Workspace) -> None:
    workspace.write(GOOD.format("one"))
    assert workspace.names() == ["one"]
    workspace.write("mode: both\n" + GOOD.format("two"))

    assert workspace.looks() == ["one"]
    assert workspace.known.problem() == (
        "state/providers.yaml:1: mode: expected one of cloud, local, hybrid, found 'both'"
    )
    workspace.write("mode: local\n" + GOOD.format("two"))
    assert workspace.looks() == ["two"]
    assert workspace.known.problem() is None


@pytest.mark.parametrize("made", ["broken", "folder", "pipe"])
def test_without_a_good_one_there_is_none_until_it_is_mended(workspace: Workspace, made: str) -> None:
    if made == "folder":
        workspace.path.mkdir()
    elif made == "pipe":
        os.mkfifo(workspace.path)
    else:
        workspace.write("providers: {")

    with pytest.raises(InvalidInput, match="state/providers"):
        workspace.known.current()
    workspace.clock.advance(1)
    with pytest.raises(InvalidInput) as caught:
        workspace.known.current()
    assert workspace.known.problem() == caught.value.message
    assert "Fix state/providers.yaml" in str(caught.value.hint)
    if made == "folder":
        workspace.path.rmdir()
    else:
        workspace.path.unlink()
    workspace.write(GOOD.format("one"))
    workspace.clock.advance(1)
    with pytest.raises(InvalidInput):
        workspace.known.current()
    workspace.clock.advance(1)
    assert workspace.names() == ["one"]


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(workspace: Workspace) -> None:
    workspace.write(GOOD.format("one"))
    before = workspace.path.stat()
    assert workspace.names() == ["one"]
    workspace.write(GOOD.format("two"))
    os.utime(workspace.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert workspace.path.stat().st_ino == before.st_ino

    assert workspace.looks() == ["two"]


def test_an_old_file_is_not_read_again_and_current_costs_microseconds(workspace: Workspace) -> None:
    workspace.write(GOOD.format("one"))
    os.utime(workspace.path, (1_000_000_000, 1_000_000_000))
    first = workspace.known.current()
    assert workspace.looks(5) == ["one"]
    assert workspace.known.current() is first  # the very same: it was not parsed again

    def a_thousand_times() -> None:
        for _ in range(1_000):
            workspace.providers.current()

    assert least_seconds(a_thousand_times, 0.02) < 0.02


@pytest.mark.parametrize("text", [GOOD.format("one"), "providers: {"])
def test_threads_that_ask_at_once_at_the_start_all_get_the_same(workspace: Workspace, text: str) -> None:
    workspace.write(text)
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        try:
            return workspace.names()[0]
        except InvalidInput as error:
            return error.message

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(ask, range(8)))

    assert len(answers) == 1
    assert answers.pop().startswith("one" if "one" in text else "state/providers.yaml:1: expected")


def test_nothing_that_takes_time_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from wvo_mcp import app;"
        " from wvo_mcp.settings import load; app.build_providers(load());"
        " print([name for name in ('yaml', 'httpx2') if name in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
