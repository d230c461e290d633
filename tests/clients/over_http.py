"""The server over HTTP, and the client programs wired to it by their own commands, as docs/install.md says."""

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.processes import run, running
from tests.clients.programs import REPOSITORY, Client, clean_environment

TOKEN_VARIABLE = "WVO_TOKEN"


class Site:
    """A server of a project: where `/mcp` is, and the file of its log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def requests(self) -> list[tuple[str, str, int]]:
        """(method, path, status) of each request that was answered, in order."""
        lines = re.findall(r"INFO ([A-Z]+) (\S+) (\d+) [\d.]+ ms", self._log.read_text(encoding="utf-8"))
        return [(method, path, int(status)) for method, path, status in lines]


@contextmanager
def serving(project: Path, home: Path) -> Generator[Site]:
    """`wvo-mcp serve --http` in a project; everything else there waits for work."""
    log = home / "serve.log"
    env = clean_environment(home) | {"ROOT": str(project)}
    program = f'exec "{sys.executable}" -m wvo_mcp serve --http --port 0 2>"{log}"'
    with running(["/bin/sh", "-c", program], cwd=REPOSITORY, env=env) as first_line:
        yield Site(f"{first_line.strip()}/mcp", log)


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
