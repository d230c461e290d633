"""Pull requests are opened once and followed to their end; GitHub's API on loopback and `gh` over a pipe, git for real."""

import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.execution.merging.conftest import PAT, Field
from tests.support.yard import git
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.forges import Project
from wvo_mcp.execution.merging.pull_requests import branch_of, followed, requested
from wvo_mcp.execution.merging.pushing import fetched_tip
from wvo_mcp.ports.merging import Candidate, Landed, Landing, NotNow

pytestmark = pytest.mark.requirement("MERGE-6")

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
GH = """#!{python}
import json, sys, urllib.request
asked = {{"argv": sys.argv[1:], "stdin": sys.stdin.read()}}
with urllib.request.urlopen("{address}/gh", json.dumps(asked).encode()) as answer:
    out = json.load(answer)
sys.stdout.write(out["stdout"]); sys.stderr.write(out["stderr"]); sys.exit(out["code"])
"""


class Hub:
    """GitHub with the repository shop/code. `fails`: what the next requests are answered with: (status, headers, body)."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        self.pulls: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, str | None]] = []
        self.argv: list[list[str]] = []
        self.fails: list[tuple[int, dict[str, str], Any]] = []
        self.lost = False
        self.logged_in = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = hub.answer(self.command, self.path, self.headers["Authorization"], content)
                if hub.lost and self.command == "POST":
                    hub.lost = False
                    self.close_connection = True
                    return
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method: str, path: str, token: str | None, content: bytes) -> tuple[int, dict[str, str], Any]:
        if path == "/gh":
            return 200, {}, self.gh(json.loads(content))
        self.asked.append((method, path, token))
        if self.fails:
            return self.fails.pop(0)
        parts = urlsplit(path)
        assert parts.path.startswith("/repos/shop/code/pulls")
        if method == "POST":
            given = json.loads(content)
            if any((one["head"], one["state"], one["fork"]) == (given["head"], "open", False) for one in self.pulls):
                return (
                    422,
                    {},
                    {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]},
                )
            return 201, {}, self.rest(self.add(given["head"], given["base"], given["title"], given["body"]))
        if (number := parts.path.rpartition("/pulls/")[2]).isdigit():
            return 200, {}, self.rest(self.pulls[int(number) - 1])
        head = parse_qs(parts.query)["head"][0].removeprefix("shop:")
        found = [self.rest(one) for one in self.pulls if one["head"] == head]
        return 200, {}, [{name: value for name, value in one.items() if name != "mergeable"} for one in found]

    def gh(self, asked: dict[str, Any]) -> dict[str, Any]:
        argv = asked["argv"]
        self.argv.append(argv)
        if not self.logged_in:
            said = "To get started with GitHub CLI, please run:  gh auth login\n"
            return {"stdout": "", "stderr": said, "code": 4}
        if self.fails:
            return {"stdout": "", "stderr": f"gh: {self.fails.pop(0)[2]['message']}\n", "code": 1}
        options = dict(zip(argv[2::2], argv[3::2], strict=True))
        assert (argv[0], options["--repo"]) == ("pr", "github.com/shop/code")
        if argv[1] == "create":
            one = self.add(options["--head"], options["--base"], options["--title"], asked["stdin"])
            if self.lost:
                self.lost = False
                return {"stdout": "", "stderr": "unexpected end of JSON input\n", "code": 1}
            return {"stdout": self.rest(one)["html_url"] + "\n", "stderr": "", "code": 0}
        rows = [
            {
                "number": one["number"], "url": self.rest(one)["html_url"], "state": one["state"].upper(),
                "headRefOid": self.head(one), "baseRefName": one["base"], "isCrossRepository": one["fork"],
                "mergeCommit": {"oid": one["merged_as"]} if one["merged_as"] else None,
                "mergeable": "CONFLICTING" if one["conflicts"] else "UNKNOWN",
            }
            for one in self.pulls if one["head"] == options["--head"]
        ]  # fmt: skip
        return {"stdout": json.dumps(rows), "stderr": "", "code": 0}

    def add(self, head: str, base: str, title: str, body: str, *, fork: bool = False) -> dict[str, Any]:
        one = {
            "number": len(self.pulls) + 1, "head": head, "base": base, "title": title, "body": body, "fork": fork,
            "state": "open", "merged_as": None, "conflicts": False, "sha": None,
        }  # fmt: skip
        self.pulls.append(one)
        return one

    def head(self, one: dict[str, Any]) -> str:
        return one["sha"] or git(self.bare, "rev-parse", f"refs/heads/{one['head']}")

    def rest(self, one: dict[str, Any]) -> dict[str, Any]:
        merged = one["merged_as"] is not None
        mine = {"full_name": "shop/code"}
        return {
            "number": one["number"], "html_url": f"https://github.com/shop/code/pull/{one['number']}",
            "state": "closed" if merged else one["state"], "merged_at": "2026-11-20T10:00:00Z" if merged else None,
            "merge_commit_sha": one["merged_as"] or "0" * 40, "mergeable": False if one["conflicts"] else None,
            "head": {"ref": one["head"], "sha": self.head(one), "repo": {"full_name": "eve/code"} if one["fork"] else mine},
            "base": {"ref": one["base"], "repo": mine},
        }  # fmt: skip

    def merge(self, number: int, tree: str | None = None) -> str:
        """A person squashes it onto the base."""
        one = self.pulls[number - 1]
        one["sha"] = self.head(one)
        base = f"refs/heads/{one['base']}"
        commit = git(self.bare, *PAT, "commit-tree", "-p", base, "-m", "Squashed", f"{one['sha']}^{{tree}}")
        git(self.bare, "update-ref", base, commit)
        git(self.bare, "update-ref", "-d", f"refs/heads/{one['head']}")
        one |= {"state": "merged", "merged_as": commit}
        return commit


class Wood:
    """A clone whose remote is called github.com/shop/code, and is a folder."""

    def __init__(self, field: Field, hub: Hub) -> None:
        self.field = field
        self.hub = hub

    def landing(self, name: str = "new.py", **more: Any) -> Landing:
        return self.field.landing(self.field.work({name: "n\n"}), name.removesuffix(".py"), **more)

    def candidate(self, landing: Landing) -> Candidate:
        return built(self.field.common, landing, fetched_tip(self.field.common, "origin", "main"))

    def request(self, landing: Landing, candidate: Candidate | None = None) -> Landed:
        return requested(self.field.common, "origin", landing, candidate or self.candidate(landing))

    def waits(self, landing: Landing, *words: str, candidate: Candidate | None = None) -> NotNow:
        with pytest.raises(NotNow) as error:
            self.request(landing, candidate)
        for word in words:
            assert word in error.value.reason
        assert TOKEN not in error.value.reason
        return error.value

    def follow(self, landing: Landing) -> str | None:
        return followed(self.field.common, "origin", landing)


@pytest.fixture
def hub(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    (Path(os.environ["HOME"]) / ".gitconfig").write_text(
        f'[url "{bare}"]\n\tinsteadOf = https://github.com/shop/code.git\n'
    )
    field.git("remote", "add", "origin", "https://github.com/shop/code.git")
    field.git("push", "-q", "origin", "main")
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    hub = Hub(bare)
    monkeypatch.setenv("GITHUB_API_URL", hub.address)
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    thread = Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


@pytest.fixture
def wood(field: Field, hub: Hub) -> Wood:
    return Wood(field, hub)


@pytest.fixture(params=["api", pytest.param("gh", marks=pytest.mark.full)])
def way(request: pytest.FixtureRequest, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How GitHub is reached."""
    if request.param == "gh":
        program = tmp_path / "bin" / "gh"
        program.parent.mkdir()
        program.write_text(GH.format(python=sys.executable, address=hub.address))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return request.param


@pytest.mark.parametrize("way", ["api", "gh"], indirect=True)
def test_one_is_opened_followed_and_merged(wood: Wood, hub: Hub, way: str) -> None:
    landing, main = wood.landing(), git(hub.bare, "rev-parse", "main")
    candidate = wood.candidate(landing)
    assert wood.follow(landing) is None
    first = wood.waits(landing, "https://github.com/shop/code/pull/1 is open")
    assert (first.passing, first.pull_request) == (True, "https://github.com/shop/code/pull/1")
    again = wood.waits(landing, "pull/1 is open")
    with pytest.raises(NotNow, match="pull/1 is open"):
        wood.follow(landing)

    assert again.reason == first.reason
    assert [(one["head"], one["base"], one["title"]) for one in hub.pulls] == [("wvo/new-1", "main", "Do new")]
    assert "Task: new" in hub.pulls[0]["body"]
    assert git(hub.bare, "rev-parse", "wvo/new-1") == candidate.commit
    assert git(hub.bare, "rev-parse", "main") == main

    commit = hub.merge(1)
    assert wood.follow(landing) == commit
    found = wood.request(landing)
    assert (found.commit, found.pull_request) == (commit, "https://github.com/shop/code/pull/1")
    assert (hub.argv == []) == (way == "api")
    assert all(token == f"Bearer {TOKEN}" for _, _, token in hub.asked)
    assert TOKEN not in json.dumps(hub.argv)


def test_one_whose_opening_was_not_answered_is_found(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    hub.lost = True
    with pytest.raises(NotNow):
        wood.request(landing)
    wood.waits(landing, "pull/1 is open")
    assert len(hub.pulls) == 1


def test_a_branch_that_was_pushed_before_a_crash_is_asked_for_as_it_is(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    first = wood.candidate(landing)
    hub.fails = [(200, {}, []), (500, {}, {"message": "oops"})]
    wood.waits(landing, "GitHub answered 500: oops")
    assert git(hub.bare, "rev-parse", branch_of(landing)) == first.commit
    wood.field.saved({"theirs.py": "t\n"})
    wood.field.git("push", "-q", "origin", "main")
    wood.waits(landing, "pull/1 is open")
    assert git(hub.bare, "rev-parse", branch_of(landing)) == first.commit


def test_a_branch_of_somebody_else_is_not_asked_for(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    wood.field.git("push", "-q", "origin", f"{wood.field.work({'x.py': 'x'})}:refs/heads/{branch_of(landing)}")
    assert not wood.waits(landing, "which is not ours").passing
    assert hub.pulls == []


def test_one_that_a_person_closed_waits_for_a_person(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    hub.pulls[0]["state"] = "closed"
    error = wood.waits(landing, "a person closed https://github.com/shop/code/pull/1")
    assert (error.passing, error.pull_request) == (False, "https://github.com/shop/code/pull/1")
    assert len(hub.pulls) == 1


def test_commits_of_a_person_are_said(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    git(hub.bare, "update-ref", "refs/heads/wvo/new-1", git(hub.bare, "rev-parse", "main"))
    assert wood.waits(landing, "somebody else pushed").passing


def test_a_conflict_with_the_target_is_built_again(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    hub.pulls[0]["conflicts"] = True
    assert wood.follow(landing) is None
    assert wood.waits(landing, "conflicts with main").passing


def test_one_merged_elsewhere_has_not_landed(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    wood.waits(landing)
    git(hub.bare, "branch", "other", "main")
    hub.pulls[0]["base"] = "other"
    hub.merge(1)
    assert wood.waits(landing, "is merged (into other), and main does not have it").passing


def test_one_from_a_fork_is_not_ours(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    hub.add(branch_of(landing), "main", "Mine", "", fork=True)
    hub.pulls[0]["sha"] = "1" * 40
    wood.waits(landing, "pull/2 is open")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795340000"}, "rate limit is used up until"),
        (429, {"retry-after": "30"}, "rate limit is used up for 30 s"),
        (401, {}, "the token is wrong"),
        (404, {}, "may not see it"),
        (301, {}, "GitHub answered 301"),
    ],
)
def test_what_github_refuses_is_tried_again(
    wood: Wood, hub: Hub, status: int, headers: dict[str, str], words: str
) -> None:
    landing = wood.landing()
    hub.fails = [(status, headers, {"message": f"no {TOKEN}"})]
    assert wood.waits(landing, words).passing


@pytest.mark.parametrize("way", ["gh"], indirect=True)
def test_what_gh_says_is_shown_without_secrets(wood: Wood, hub: Hub, way: str) -> None:
    hub.fails = [(403, {}, {"message": f"HTTP 403: no, {TOKEN}"})]
    assert wood.waits(wood.landing(), "403").passing


@pytest.mark.parametrize("way", ["gh"], indirect=True)
def test_gh_without_a_login_leaves_it_to_the_token(
    wood: Wood, hub: Hub, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.logged_in = False
    landing = wood.landing()
    wood.waits(landing, "pull/1 is open")
    assert hub.asked
    monkeypatch.delenv("GH_TOKEN")
    assert wood.waits(landing, "gh auth login --hostname github.com, or set GH_TOKEN").passing


def test_a_token_is_not_sent_in_the_clear(wood: Wood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://api.example.org")
    wood.waits(wood.landing(), "in the clear")


def test_a_token_of_github_goes_to_no_other_host(wood: Wood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_API_URL")
    wood.field.git("config", "url.https://github.com/.insteadOf", "https://git.example.org/")
    candidate = wood.candidate(landing := wood.landing())
    wood.field.git("remote", "set-url", "origin", "https://git.example.org/shop/code.git")
    wood.waits(landing, "nobody is logged in at git.example.org", candidate=candidate)


def test_an_answer_that_is_no_answer_is_said(wood: Wood, hub: Hub) -> None:
    for body in ({"message": "hm"}, [{"number": 1}], [None], "x"):
        hub.fails = [(200, {}, body)]
        wood.waits(wood.landing(), "did not answer with the pull requests")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://github.com/shop/code.git", "github.com/shop/code"),
        ("https://pat:secret@GitHub.com/shop/code/", "github.com/shop/code"),
        ("git@github.com:shop/code.git", "github.com/shop/code"),
        ("ssh://git@ssh.github.com:443/shop/my.code.git", "github.com/shop/my.code"),
        ("/srv/git/code.git", None),
        ("../code.git", None),
        ("file:///srv/shop/code.git", None),
        ("https://github.com/a/b/c", None),
        ("https://github.com/a/b?x", "github.com/a/b"),
        ("https://github.com/a/..%2f", None),
    ],
)
def test_addresses_of_remotes_name_projects(address: str, found: str | None) -> None:
    project = Project.of(address)
    assert (None if project is None else f"{project.host}/{project.owner}/{project.name}") == found
