"""What follows for launches that ended badly."""

import pytest

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.recovery import MOST_TRIES, TRIGGERS, Act, Corrections, Remedy, remedy

pytestmark = pytest.mark.requirement("WORK-5")

WORKTREE = "/srv/shop/state/worktrees/PRICES"


def after(kind: ProviderKind, said: str, before: Corrections | None = None, **more: object) -> Remedy:
    signal, resumed = more.get("signal"), bool(more.get("resumed"))
    assert signal is None or isinstance(signal, Signal)
    return remedy(kind, said, signal, before or Corrections(), [WORKTREE], resumed=resumed)


@pytest.mark.parametrize(
    ("kind", "said", "act"),
    [
        (ProviderKind.CLAUDE, "No conversation found with session ID: 1b2c", Act.FRESH),
        (ProviderKind.CLAUDE, "Error: Session ID 1b2c is already in use.", Act.FRESH),
        (
            ProviderKind.CLAUDE,
            f"Access blocked: {WORKTREE}/src/a.py is outside allowed working directories",
            Act.ADD_FOLDER,
        ),
        (ProviderKind.CODEX, "no rollout found for thread id 1b2c", Act.FRESH),
        (ProviderKind.CODEX, "Not inside a trusted directory and --skip-git-repo-check was not specified.", Act.FRESH),
        (ProviderKind.CODEX, "required MCP server `wvo` failed to initialize", Act.RELAUNCH),
        (ProviderKind.GEMINI, "Error resuming session: Invalid session identifier", Act.FRESH),
        (
            ProviderKind.GEMINI,
            f"Path must be within one of the workspace directories: {WORKTREE}/a/b.py",
            Act.ADD_FOLDER,
        ),
        (ProviderKind.GEMINI, "Gemini CLI is not running in a trusted directory.", Act.FRESH),
        (ProviderKind.GEMINI, "the project's .gemini/settings.json sets hooks: with that ...", Act.GIVE_UP),
        (ProviderKind.GEMINI, "Error in config file: unexpected token", Act.FRESH),
        (ProviderKind.CLAUDE, "it ended with code -9", Act.RELAUNCH),
        (ProviderKind.CODEX, "it ended with code 139: Segmentation fault", Act.RELAUNCH),
        (ProviderKind.CLAUDE, "it was ended: output", Act.NOT_MINE),
        (ProviderKind.CLAUDE, "I could not find the file, so I stop.", Act.NOT_MINE),
        (ProviderKind.CLAUDE, "", Act.NOT_MINE),
    ],
)
def test_each_trigger_has_its_remedy(kind: ProviderKind, said: str, act: Act) -> None:
    found = after(kind, said)
    assert found.act is act
    assert bool(found.why) is (act is not Act.NOT_MINE)


@pytest.mark.parametrize("kind", [one for one in FailureKind if one is not FailureKind.PERMISSION])
def test_what_a_provider_failed_with_is_never_a_crash(kind: FailureKind) -> None:
    assert after(ProviderKind.CLAUDE, "it ended with code 1", signal=Signal(kind, "429")).act is Act.NOT_MINE


def test_only_what_is_allowed_is_opened_whatever_a_program_names() -> None:
    def asked(path: str) -> tuple[str, ...]:
        return after(ProviderKind.GEMINI, f"Path not in workspace: {path} resolves outside").corrections.folders

    assert asked(f"{WORKTREE}/src/a.py") == (WORKTREE,)
    assert asked("/var/tmp/build/x") == ("/var/tmp",)  # noqa: S108
    for path in ("/etc/passwd", f"{WORKTREE}-evil/a", f"{WORKTREE}/../../.git/config", "/", "src/a.py"):
        assert asked(path) == (), path


def test_a_folder_is_added_once() -> None:
    said = f"Access blocked: {WORKTREE}/a"
    first = after(ProviderKind.CLAUDE, said)
    assert first.corrections == Corrections((WORKTREE,), 1)
    assert after(ProviderKind.CLAUDE, said, first.corrections).act is Act.NOT_MINE


def test_a_program_that_crashes_is_launched_three_times_and_then_a_person_looks() -> None:
    before, acts = Corrections(), list[Act]()
    for _ in range(MOST_TRIES + 1):
        found = after(ProviderKind.CLAUDE, "it ended with code 139", before, resumed=True)
        acts.append(found.act)
        assert ("3 times" in found.why) is (found.act is Act.GIVE_UP)
        before = found.corrections
    assert acts == [Act.RELAUNCH, Act.FRESH, Act.FRESH, Act.GIVE_UP]


def test_hostile_last_words_take_no_time_to_read() -> None:
    for said in ("path must be within " * 20_000, "/a" * 100_000, "mcp server " * 50_000, "invalid " * 50_000):
        for kind in ProviderKind:
            after(kind, said)


def test_the_table_is_of_known_programs_and_its_patterns_are_sound() -> None:
    kinds = {one.kind for one in TRIGGERS}
    assert kinds == {None, ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI}
