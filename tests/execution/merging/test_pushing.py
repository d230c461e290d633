"""The remote's target moves to the candidate, or nothing does; real bare remotes on disk and on loopback."""

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.execution.merging.conftest import PAT, Field
from tests.support.yard import git
from wvo_mcp.execution.merging import pushing as module
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.pushing import fetched_tip, landed_there, looked, pinned_remotely, pushed, remote_of
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Candidate, Landing, Moved, NotNow

pytestmark = pytest.mark.requirement("MERGE-6")


class Shared:
    """A bare remote, and the person's clone of it."""

    def __init__(self, field: Field, bare: Path) -> None:
        self.field = field
        self.bare = bare
        kind = field.git("rev-parse", "--show-object-format")
        git(field.root, "init", "-q", "--bare", "-b", "main", f"--object-format={kind}", str(bare))
        field.git("remote", "add", "origin", str(bare))
        field.git("push", "-q", "origin", "main")

    @property
    def common(self) -> Common:
        return self.field.common

    def clone(self, folder: Path, *options: str) -> Common:
        git(self.field.root, "clone", "-q", *options, f"file://{self.bare}", str(folder))
        found = Common.of(folder)
        assert found is not None
        return found

    def candidate(self, name: str = "new.py", common: Common | None = None) -> Candidate:
        landing = self.landing(name)
        if common is None:
            return built(self.common, landing, fetched_tip(self.common, "origin", "main"))
        common.git("fetch", "-q", str(self.field.root), landing.commit)
        return built(common, landing, fetched_tip(common, "origin", "main"))

    def landing(self, name: str = "new.py") -> Landing:
        return self.field.landing(self.field.work({name: "n\n"}), name.removesuffix(".py"))

    def main(self) -> str:
        return git(self.bare, "rev-parse", "main")

    def hook(self, name: str, script: str) -> None:
        path = self.bare / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def shared(field: Field, tmp_path: Path) -> Shared:
    return Shared(field, tmp_path / "bare.git")


def refused(shared: Shared, candidate: Candidate, *words: str) -> NotNow:
    before = shared.main()
    with pytest.raises(NotNow) as error:
        pushed(shared.common, "origin", "main", candidate)
    assert shared.main() == before
    for word in words:
        assert word in error.value.reason
    return error.value


def test_a_candidate_is_pushed_and_no_branch_here_moves(shared: Shared) -> None:
    candidate = shared.candidate()
    before = shared.field.git("for-each-ref", "refs/heads", "refs/remotes")

    found = pushed(shared.common, "origin", "main", candidate)

    assert (found.commit, found.note) == (candidate.commit, "pushed to main of origin")
    assert shared.main() == candidate.commit
    assert shared.field.git("for-each-ref", "refs/heads", "refs/remotes") == before
    assert landed_there(shared.common, "origin", "main", candidate.commit) == candidate.commit
    assert landed_there(shared.common, "origin", "main", shared.field.work({"other.py": "o\n"})) is None


def test_two_clones_that_race_land_both(shared: Shared, tmp_path: Path) -> None:
    other = shared.clone(tmp_path / "other")
    first, second = shared.candidate("first.py"), shared.candidate("second.py", other)

    pushed(shared.common, "origin", "main", first)
    with pytest.raises(Moved):
        pushed(other, "origin", "main", second)

    again = shared.candidate("second.py", other)
    assert again.tip == first.commit
    pushed(other, "origin", "main", again)
    assert {"first.py", "second.py"} <= set(git(shared.bare, "ls-tree", "--name-only", "main").split())


@pytest.mark.parametrize("hook", ["pre-receive", pytest.param("update", marks=pytest.mark.full)])
def test_one_that_moves_it_while_we_push_is_not_overtaken(shared: Shared, tmp_path: Path, hook: str) -> None:
    """Another host's push arrives between our look and the remote's own."""
    candidate = shared.candidate()
    other = shared.candidate("other.py", shared.clone(tmp_path / "other"))
    git(tmp_path / "other", "push", "-q", "origin", f"{other.commit}:refs/keep/other")
    quarantine = "unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
    shared.hook(hook, f"{quarantine}\ngit update-ref refs/heads/main {other.commit}\nexit 0")

    with pytest.raises(Moved):
        pushed(shared.common, "origin", "main", candidate)
    assert shared.main() == other.commit


@pytest.mark.parametrize("hook", ["pre-receive", pytest.param("update", marks=pytest.mark.full)])
def test_a_remote_that_refuses_is_quoted_without_its_secrets(shared: Shared, hook: str) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    shared.hook(hook, f"echo 'main is protected' >&2\necho 'see https://pat:{token}@example.org' >&2\nexit 1")

    error = refused(shared, shared.candidate(), "origin refused main", "main is protected", "declined")

    assert not error.passing
    assert token not in error.reason


def test_a_long_refusal_is_cut(shared: Shared) -> None:
    shared.hook("pre-receive", "printf 'no \\033[31m%05000d\\n' 1 >&2\nexit 1")
    error = refused(shared, shared.candidate(), "refused main")
    assert len(error.reason) < 700
    assert error.reason.isprintable()


def test_a_branch_that_is_checked_out_there_is_refused(shared: Shared) -> None:
    git(shared.bare, "config", "core.bare", "false")
    git(shared.bare, "config", "core.worktree", str(shared.bare.parent))
    assert not refused(shared, shared.candidate(), "checked out").passing


def test_a_full_disk_there_may_pass(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = shared.candidate()
    shared.hook("pre-receive", "exit 0")
    git(shared.bare, "config", "receive.unpackLimit", "1")
    program = shared.bare.parent / "full-receive-pack"
    program.write_text('#!/bin/sh\nulimit -f 0\nexec git receive-pack "$@"\n')
    program.chmod(0o755)
    shared.field.git("config", "remote.origin.receivepack", str(program))

    assert refused(shared, candidate).passing


def test_a_push_whose_answer_was_lost_is_found_by_looking(shared: Shared) -> None:
    candidate = shared.candidate()
    program = shared.bare.parent / "silent-receive-pack"
    program.write_text('#!/bin/sh\ngit receive-pack "$@" | head -c 200\n')
    program.chmod(0o755)
    shared.hook("post-receive", "kill -9 $PPID")

    assert pushed(shared.common, "origin", "main", candidate).commit == candidate.commit
    assert shared.main() == candidate.commit


def test_a_remote_that_takes_it_and_does_not_move_is_not_believed(shared: Shared) -> None:
    candidate = shared.candidate()
    shared.hook("post-receive", f"git update-ref refs/heads/main {candidate.tip}")
    assert "did not move" in refused(shared, candidate).reason


def test_a_slow_hook_is_waited_for(shared: Shared, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    shared.hook("pre-receive", f"cat '{tmp_path / 'gate'}' >/dev/null")
    candidate = shared.candidate()
    opener = Thread(target=lambda: (tmp_path / "gate").write_text("go"))
    opener.start()
    pushed(shared.common, "origin", "main", candidate)
    opener.join()
    assert shared.main() == candidate.commit


def test_a_push_that_hangs_is_ended(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "gate")
    shared.hook("pre-receive", f"cat '{tmp_path / 'gate'}' >/dev/null")
    candidate = shared.candidate()
    monkeypatch.setattr(module, "MOVE_SECONDS", 0.5)
    assert refused(shared, candidate, "took longer").passing


def test_a_remote_that_hangs_is_left_after_its_time(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    with _Listening(lambda handler, closing: closing.wait()) as address:
        shared.field.git("remote", "set-url", "origin", f"{address}/shop.git")
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.5)
        assert _away(shared, "took longer").passing


def test_bad_credentials_ask_nobody_and_stay_secret(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(handler: BaseHTTPRequestHandler, closing: Event) -> None:
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="shop"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    monkeypatch.setenv("GIT_ASKPASS", "/bin/false")
    with _Listening(deny) as address:
        shared.field.git("remote", "set-url", "origin", f"{address}/shop.git")
        assert _away(shared, "could not read Username").passing
        shared.field.git("remote", "set-url", "origin", f"{address}/shop.git".replace("//", "//pat:hunter2secret@"))
        assert "hunter2secret" not in _away(shared, "Authentication failed").reason


def test_the_credential_helpers_of_the_person_log_in(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def ask(handler: BaseHTTPRequestHandler, closing: Event) -> None:
        seen.append(handler.headers["Authorization"])
        handler.send_response(401 if seen[-1] is None else 404)
        handler.send_header("WWW-Authenticate", 'Basic realm="shop"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    (Path(os.environ["HOME"]) / ".gitconfig").write_text(
        '[credential]\n\thelper = "!echo username=pat; echo password=pw; :"\n'
    )
    with _Listening(ask) as address:
        shared.field.git("remote", "set-url", "origin", f"{address}/shop.git")
        _away(shared, "not found")
    assert seen[-1] == "Basic " + base64.b64encode(b"pat:pw").decode()


def test_ssh_asks_nobody(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" "askpass=$SSH_ASKPASS" >"{tmp_path}/asked"\nexit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", f"{program} -i key")
    shared.field.git("remote", "set-url", "origin", "git@example.org:shop.git")
    _away(shared, "origin does not answer")
    assert "-i key -o BatchMode=yes" in (tmp_path / "asked").read_text()
    assert (tmp_path / "asked").read_text().endswith("askpass=\n")


def test_a_remote_that_is_away_may_come_back(shared: Shared) -> None:
    shared.bare.rename(shared.bare.with_name("away"))
    assert _away(shared, "origin does not answer as it should", "does not appear to be a git repository").passing


def test_a_target_that_the_remote_does_not_have_is_named(shared: Shared) -> None:
    with pytest.raises(NotNow, match="origin has no branch release: push it") as error:
        fetched_tip(shared.common, "origin", "release")
    assert error.value.passing


@pytest.mark.full
def test_a_remote_with_other_object_names_is_said(shared: Shared, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "--object-format=sha256", str(tmp_path / "256.git"))
    other = Field(tmp_path / "other", "--object-format=sha256")
    other.git("push", "-q", str(tmp_path / "256.git"), "main")
    shared.field.git("remote", "set-url", "origin", str(tmp_path / "256.git"))
    _away(shared, "origin does not answer as it should")


@pytest.mark.full
def test_a_sha256_repository_pushes_to_its_like(field: Field, tmp_path: Path) -> None:
    shared = Shared(Field(tmp_path / "long", "--object-format=sha256"), tmp_path / "long.git")
    candidate = shared.candidate()
    assert len(pushed(shared.common, "origin", "main", candidate).commit) == 64


@pytest.mark.full
def test_a_shallow_clone_pushes(shared: Shared, tmp_path: Path) -> None:
    for number in range(3):
        shared.field.saved({"code.py": f"{number}\n"})
    shared.field.git("push", "-q", "origin", "main")
    shallow = shared.clone(tmp_path / "shallow", "--depth=1")
    work = Field.__new__(Field)
    work.root, work.first = tmp_path / "shallow", git(tmp_path / "shallow", "rev-parse", "HEAD")
    candidate = built(shallow, work.landing(work.work({"new.py": "n\n"})), fetched_tip(shallow, "origin", "main"))

    pushed(shallow, "origin", "main", candidate)
    assert shared.main() == candidate.commit


@pytest.mark.full
def test_what_others_pushed_is_fetched_without_their_tags(shared: Shared, tmp_path: Path) -> None:
    other = shared.clone(tmp_path / "other")
    git(tmp_path / "other", *PAT, "commit", "-q", "--allow-empty", "-m", "theirs")
    git(tmp_path / "other", *PAT, "tag", "v1")
    git(tmp_path / "other", "push", "-q", "origin", "main", "v1")
    remotes = shared.field.git("for-each-ref", "refs/remotes")

    assert fetched_tip(shared.common, "origin", "main") == other.commit_of("main")
    assert shared.field.git("for-each-ref", "refs/remotes", "refs/tags") == remotes
    assert not (shared.field.root / ".git/FETCH_HEAD").exists()


def test_a_fetch_beside_another_that_moves_the_same_ref_is_no_failure(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction fetches while the next landing does: git lets one of them move the ref, and refuses the other."""
    other = shared.clone(tmp_path / "other")
    fetch = module._fetched

    def overtaken(common: Common, remote: str, refspec: str) -> None:
        fetch(common, remote, refspec)
        raise NotNow("cannot lock ref")

    monkeypatch.setattr(module, "_fetched", overtaken)
    git(tmp_path / "other", *PAT, "commit", "-q", "--allow-empty", "-m", "theirs")
    git(tmp_path / "other", "push", "-q", "origin", "main")
    assert fetched_tip(shared.common, "origin", "main") == other.commit_of("main")


def test_hooks_here_do_not_run(shared: Shared, tmp_path: Path) -> None:
    candidate = shared.candidate()
    for name in ("pre-push", "reference-transaction", "post-index-change"):
        path = shared.field.root / ".git/hooks" / name
        path.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
        path.chmod(0o755)
    pushed(shared.common, "origin", "main", candidate)
    assert not (tmp_path / "ran").exists()


def test_submissions_are_pinned_there_beside_those_of_others(shared: Shared) -> None:
    mine, theirs = shared.landing("mine.py"), shared.landing("theirs.py")
    common, theirs = shared.common, replace(theirs, task_id=mine.task_id)  # of another store

    ref = pinned_remotely(common, "origin", mine)
    assert ref == "refs/wvo/submit/mine/1" == pinned_remotely(common, "origin", mine)
    other = pinned_remotely(common, "origin", theirs)
    assert other == f"refs/wvo/submit/mine/1-{theirs.commit[:16]}"
    assert [looked(common, "origin", one or "") for one in (ref, other)] == [mine.commit, theirs.commit]


def test_the_remote_is_the_one_the_target_follows(shared: Shared) -> None:
    field = shared.field
    assert remote_of(field.common, "main") == "origin"
    field.git("remote", "add", "fork", str(shared.bare))
    field.git("config", "branch.main.remote", "fork")
    assert remote_of(field.common, "main") == "fork"
    field.git("config", "branch.main.remote", ".")
    field.git("remote", "rename", "origin", "one")
    with pytest.raises(NotNow, match="which of the remotes fork, one main goes to"):
        remote_of(field.common, "main")
    field.git("remote", "remove", "one")
    assert remote_of(field.common, "main") == "fork"
    field.git("remote", "remove", "fork")
    with pytest.raises(NotNow, match="git remote add origin"):
        remote_of(field.common, "main")


@pytest.mark.full
def test_a_mirror_is_pushed_one_branch(shared: Shared) -> None:
    git(shared.bare, "branch", "theirs", "main")
    shared.field.git("config", "remote.origin.mirror", "true")
    candidate = shared.candidate()
    pushed(shared.common, "origin", "main", candidate)
    assert git(shared.bare, "branch", "--format=%(refname:short)").split() == ["main", "theirs"]


def _away(shared: Shared, *words: str) -> NotNow:
    with pytest.raises(NotNow) as error:
        fetched_tip(shared.common, "origin", "main")
    for word in words:
        assert word in error.value.reason
    return error.value


class _Listening:
    """A server on loopback that answers each request with `answer`; its address."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, Event], object]) -> None:
        closing = self._closing = Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self, closing)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
