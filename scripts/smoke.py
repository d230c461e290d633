"""Does an installed `wvo-mcp` work at all? A handshake, a claim and its end over stdio, the commands, the HTTP server.

python -m scripts.smoke PATH-OF-WVO-MCP
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import IO, Any

PATIENCE = 60


def main(program: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("WVO_", "CLAUDE"))}
        environ |= {"ROOT": folder, "HOME": folder, "OTEL_ENABLED": "1"}

        def command(*arguments: str) -> Any:
            ran = [program, *arguments, "--json"]
            told = subprocess.run(ran, env=environ, cwd=folder, capture_output=True, timeout=PATIENCE, check=True)
            return json.loads(told.stdout)

        command("add", "Write it", "--id", "T1")
        stdio(program, environ, folder)
        shown = command("get-task", "T1")["task"]["status"]
        assert shown == "done", shown
        http(program, environ, folder)
    print("The commands, a claim over stdio and the HTTP server work.")
    return 0


def stdio(program: str, environ: dict[str, str], folder: str) -> None:
    server = subprocess.Popen(
        [program], env=environ, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert server.stdin is not None
    assert server.stdout is not None
    sends, hears = server.stdin, server.stdout

    def ask(number: int, method: str, params: dict[str, Any]) -> Any:
        tell({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return _answer(hears, number)

    def tell(message: dict[str, Any]) -> None:
        sends.write(json.dumps(message) + "\n")

    def call(number: int, name: str, **arguments: Any) -> Any:
        result = ask(number, "tools/call", {"name": name, "arguments": arguments})
        assert not result.get("isError"), result
        return result["structuredContent"]

    try:
        client = {"name": "smoke", "version": "1"}
        begun = ask(1, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        assert begun["serverInfo"]["name"], begun
        tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert len(ask(2, "tools/list", {})["tools"]) >= 14
        assert call(3, "claim_task")["task"]["id"] == "T1"
        call(4, "complete_task", task_id="T1", summary="done")
        sends.close()
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()


def _answer(hears: IO[str], number: int) -> Any:
    for line in hears:
        message = json.loads(line)
        if message.get("id") == number:
            return message["result"]
    raise AssertionError("the server has gone")


def http(program: str, environ: dict[str, str], folder: str) -> None:
    log = Path(folder) / "http.log"
    with log.open("w") as told:
        ran = [program, "serve", "--http", "--port", "0"]
        server = subprocess.Popen(ran, env=environ, cwd=folder, stdout=told, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE
        while "http://" not in log.read_text():
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        address = next(word for word in log.read_text().split() if word.startswith("http://")).rstrip("/.,")
        with urllib.request.urlopen(f"{address}/health", timeout=PATIENCE) as answer:  # noqa: S310 - our own
            assert json.load(answer)["status"] in ("healthy", "degraded")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
