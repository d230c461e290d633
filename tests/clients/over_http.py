"""The server over HTTP, and the client programs wired to it by their own commands, as docs/install.md says."""

import json
import re
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.clients.processes import run, running
from tests.clients.programs import SERVER, Client, clean_environment

TOKEN_VARIABLE = "WVO_TOKEN"


class Site:
    """A server of a project, which may be killed and started again at its address."""

    def __init__(self, project: Path, home: Path, options: str) -> None:
        self._project = project
        self._log = home / "serve.log"
        self._env = clean_environment(home)
        self._options = options
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._life = ExitStack()
        self.url = f"http://127.0.0.1:{self._port}/mcp"

    def start(self) -> None:
        program = f'exec "{SERVER}" serve --http --port {self._port} {self._options} 2>>"{self._log}"'
        self._life.enter_context(running(["/bin/sh", "-c", program], cwd=self._project, env=self._env))

    def kill(self) -> None:
        """SIGKILL."""
        self._life.close()

    def requests(self) -> list[tuple[str, str, int]]:
        """(method, path, status) of each request that was answered, in order."""
        lines = re.findall(r"INFO ([A-Z]+) (\S+) (\d+) [\d.]+ ms", self._log.read_text(encoding="utf-8"))
        return [(method, path, int(status)) for method, path, status in lines]


@contextmanager
def serving(project: Path, home: Path, options: str = "") -> Generator[Site]:
    """`wvo-mcp serve --http` in a project."""
    site = Site(project, home, options)
    try:
        site.start()
        yield site
    finally:
        site.kill()


def token_of(project: Path, home: Path, role: str) -> str:
    """A new one, as a person makes it."""
    words = [SERVER, "token", "create", "laptop", "--role", role, "--json"]
    made = run(words, cwd=project, env=clean_environment(home))
    assert made.exit_code == 0, made.report()
    token: str = json.loads(made.stdout)["token"]
    return token


def wire(client: Client, url: str, *, token: str | None = None, agent: str | None = None) -> None:
    """Adds the server to the client by the client's own command. The token is in the client's environment alone."""
    headers = [] if agent is None else [f"WVO-Agent-Id: {agent}"]
    if token is not None:
        client.besides = {TOKEN_VARIABLE: token}
        headers.append(f"Authorization: Bearer ${{{TOKEN_VARIABLE}}}")
    given = [word for header in headers for word in ("--header", header)]
    if client.name == "claude":
        command = ["claude", "mcp", "add", "--transport", "http", "--scope", "project", "wvo", url, *given]
        client.flags = (*client.flags, "--allowedTools", "mcp__wvo")
    elif client.name == "codex":
        command = ["codex", "mcp", "add", "wvo", "--url", url]
        command += [] if token is None else ["--bearer-token-env-var", TOKEN_VARIABLE]
    else:
        command = ["gemini", "mcp", "add", "--transport", "http", "wvo", url, *given]
    added = run(command, cwd=client.project, env=client.environment)
    assert added.exit_code == 0, added.report()
    if client.name == "codex" and agent is not None:
        with (client.home / ".codex/config.toml").open("a", encoding="utf-8") as config:
            config.write(f'\n[mcp_servers.wvo.http_headers]\n"WVO-Agent-Id" = "{agent}"\n')
