"""A server of Git LFS on loopback that speaks its batch protocol, and what a person sets up to use it."""

import hashlib
import json
import os
import shutil
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.yard import git

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
PASSWORD = "open-sesame"


def need_lfs() -> None:
    """Skip the test where the program is missing; on a build server that is a failure."""
    if shutil.which("git-lfs") is not None:
        return
    told = [one for one in os.environ.get("WVO_TEST_MISSING", "").split("\n") if one.startswith("git-lfs:")]
    reason = told[0] if told else "git-lfs is not installed; ./scripts/test installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def oid_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pointer_of(content: bytes) -> str:
    return POINTER.format(oid_of(content), len(content))


class LargeFiles:
    """`objects` by their ids. `asked` are (method, path) of the requests that were let in; `fails` are statuses that the
    next batches are answered with. Who comes without the password is sent away."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.fails: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                known = b64encode(f"pat:{PASSWORD}".encode()).decode()
                if self.headers["Authorization"] != f"Basic {known}":
                    status, body = 401, json.dumps({"message": "who are you?"}).encode()
                else:
                    server.asked.append((self.command, self.path))
                    status, body = server.answer(self.command, self.path, content)
                self.send_response(status)
                if status == 401:
                    self.send_header("LFS-Authenticate", 'Basic realm="files"')
                plain = self.command == "GET" and status == 200
                self.send_header(
                    "Content-Type", "application/octet-stream" if plain else "application/vnd.git-lfs+json"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/shop/code.git/info/lfs"

    def answer(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        name = path.rpartition("/")[2]
        if path.endswith("/objects/batch"):
            if self.fails:
                return self.fails.pop(0), b"{}"
            asked = json.loads(content)
            rows = [self._row(asked["operation"], one) for one in asked["objects"]]
            return 200, json.dumps({"transfer": "basic", "objects": rows}).encode()
        if method == "PUT":
            if oid_of(content) != name:
                return 422, b'{"message": "the content is not what its name says"}'
            self.objects[name] = content
            return 200, b""
        if method == "GET" and name in self.objects:
            return 200, self.objects[name]
        return 404, b'{"message": "not found"}'

    def _row(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        row = {"oid": asked["oid"], "size": asked["size"]}
        there = asked["oid"] in self.objects
        if operation == "download" and not there:
            return {**row, "error": {"code": 404, "message": "Object does not exist"}}
        if there and operation == "upload":
            return row
        return {**row, "actions": {operation: {"href": f"{self.address}/objects/{asked['oid']}"}}}

    def known_to(self, home: Path) -> None:
        """A person who has logged in, and has Git LFS."""
        host = self.address.removeprefix("http://").partition("/")[0]
        (home / ".git-credentials").write_text(f"http://pat:{PASSWORD}@{host}\n")
        lfs = "\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n\tprocess = git-lfs filter-process\n"
        with (home / ".gitconfig").open("a") as file:
            file.write(f'[credential]\n\thelper = store\n[filter "lfs"]\n{lfs}\trequired = true\n')


@contextmanager
def large_files() -> Generator[LargeFiles]:
    server = LargeFiles()
    thread = Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()


def kept(root: Path, content: bytes) -> Path:
    """Where a repository has it."""
    oid = oid_of(content)
    return root / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid


def at_remote(bare: Path, revision: str) -> str:
    """A file of the remote's, as git has it."""
    return git(bare, "show", revision) + "\n"
