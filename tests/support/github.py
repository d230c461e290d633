"""GitHub with one repository: its API on loopback, a program `gh` that asks it, and a bare repository behind both."""

import json
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.yard import git

PAT = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
REMOTE = "https://github.com/shop/code.git"
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
        self.checks: list[dict[str, Any]] = []
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
        if found := re.fullmatch(r"/repos/shop/code/commits/([0-9a-f]{40})/(check-runs|status)", parts.path):
            return 200, {}, self.checked(*found.groups())
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
        if argv[1] == "view":
            return {"stdout": json.dumps({"statusCheckRollup": self.rollup(int(argv[2]))}), "stderr": "", "code": 0}
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

    def checked(self, sha: str, kind: str) -> Any:
        rows = [one for one in self.checks if one["sha"] == sha]
        if kind == "status":
            listed = [
                {"context": one["name"], "state": one["how"], "description": one["said"], "target_url": one["url"]}
                for one in rows if one["kind"] == "status"
            ]  # fmt: skip
            return {"state": "unused", "statuses": listed}
        listed = [
            {
                "name": one["name"], "status": "completed" if one["how"] else "in_progress", "conclusion": one["how"],
                "html_url": one["url"], "output": {"title": None, "summary": one["said"]},
            }
            for one in rows if one["kind"] == "run"
        ]  # fmt: skip
        return {"total_count": len(listed), "check_runs": listed}

    def rollup(self, number: int) -> list[dict[str, Any]]:
        sha = self.head(self.pulls[number - 1])
        return [
            {
                "__typename": "CheckRun", "name": one["name"], "workflowName": "CI", "detailsUrl": one["url"],
                "status": "COMPLETED" if one["how"] else "IN_PROGRESS", "conclusion": (one["how"] or "").upper(),
                "startedAt": f"2026-11-20T10:00:{at:02}Z",
            }
            if one["kind"] == "run"
            else {"__typename": "StatusContext", "context": one["name"], "state": one["how"].upper(), "targetUrl": one["url"]}
            for at, one in enumerate(self.checks) if one["sha"] == sha
        ]  # fmt: skip

    def check(self, number: int, name: str, how: str | None, said: str = "", kind: str = "run") -> None:
        """A service has run on its head; `how` None: it runs still."""
        url = f"https://ci.example.org/{name}"
        sha = self.head(self.pulls[number - 1])
        self.checks.append({"sha": sha, "name": name, "how": how, "said": said, "kind": kind, "url": url})

    def by_gh(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is reached by the program."""
        folder.mkdir()
        program = folder / "gh"
        program.write_text(GH.format(python=sys.executable, address=self.address))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

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

    def merge(self, number: int, how: str = "squash", *, tidy: bool = True) -> str:
        """A person, or a merge queue, lands it on the base as that is by now; its branch is removed, if the project is so."""
        one = self.pulls[number - 1]
        one["sha"] = self.head(one)
        base = f"refs/heads/{one['base']}"
        tip = git(self.bare, "rev-parse", base)
        tree = git(self.bare, "merge-tree", "--write-tree", tip, one["sha"])
        parents = ("-p", tip) if how == "squash" else ("-p", tip, "-p", one["sha"])
        commit = git(self.bare, *PAT, "commit-tree", *parents, "-m", f"{how} of {number}", tree)
        git(self.bare, "update-ref", base, commit)
        if tidy:
            git(self.bare, "update-ref", "-d", f"refs/heads/{one['head']}")
        one |= {"state": "merged", "merged_as": commit}
        return commit


@contextmanager
def github(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    """What REMOTE leads to, for this process; the folder is where it keeps git's part."""
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    (Path(os.environ["HOME"]) / ".gitconfig").write_text(f'[url "{bare}"]\n\tinsteadOf = {REMOTE}\n')
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    hub = Hub(bare)
    monkeypatch.setenv("GITHUB_API_URL", hub.address)
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    thread = Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()
