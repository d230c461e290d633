"""`wvo-mcp token` and `wvo-mcp login-link`."""

import pytest

from tests.faces.cli.shell import Shell

pytestmark = pytest.mark.requirement("DASH-3", "DASH-5")


def test_a_token_is_made_listed_and_revoked(shell: Shell) -> None:
    made = shell("token", "create", "ci", "--role", "viewer", "--expires", "7d").json
    also = shell("token-create", "ann", "admin").json

    assert {one["name"] for one in shell("token").json["tokens"]} == {"ci", "ann"}
    assert made["token"] not in shell("token", "list").out
    assert shell("token", "revoke", made["token_id"]).json["ended"] == 1
    assert [one["token_id"] for one in shell("token", "list").json["tokens"]] == [also["token_id"]]
    assert shell("token", "create", "x", "--role", "root").code == 2


def test_another_project_is_named_by_its_folder(shell: Shell) -> None:
    other = shell.root.parent / "other"
    other.mkdir()

    made = shell("token", "create", "ci", "--role", "viewer", "--project", str(other)).json
    link = shell("login-link", "--project", str(other), "--address", "https://wvo.example").json

    assert shell("token").json["tokens"] == []
    listed = shell("token", "list", "--project", str(other)).json["tokens"]
    assert {one["kind"] for one in listed} == {"token", "link"}
    assert (other / "state" / "state.db").is_file()
    assert link["address"].startswith("https://wvo.example/login/")
    assert made["token_id"] in {one["token_id"] for one in listed}
    assert shell("token", "list", "--project", str(other / "nowhere")).code == 2


def test_a_link_is_for_the_server_that_the_last_one_was_for(shell: Shell) -> None:
    def address(*given: str) -> str:
        return str(shell("login-link", *given).json["address"]).partition("/login/")[0]

    assert address() == "http://127.0.0.1:8737"
    assert address("--address", "http://127.0.0.1:9001/p/shop/") == "http://127.0.0.1:9001/p/shop"
    assert address() == "http://127.0.0.1:9001/p/shop"
    assert shell("login-link", "--address", "nowhere").code != 0
    assert address() == "http://127.0.0.1:9001/p/shop"


def test_help_shows_what_must_be_given_without_brackets(shell: Shell) -> None:
    assert "[OPTIONS] NAME ROLE" in shell("token", "create", "--help").out
    assert "[OPTIONS] TOKEN_ID" in shell("token", "revoke", "--help").out
    assert "[OPTIONS] WORKER_ID [REASON]" in shell("worker-stop", "--help").out


def test_on_a_terminal_what_is_copied_is_not_broken(shell: Shell) -> None:
    shown = shell.on_terminal("token", "create", "ci", "--role", "viewer", COLUMNS="40")
    assert "wvo_" in shown.text
    assert any(len(line.strip()) == 60 and line.startswith("wvo_") for line in shown.text.splitlines())

    link = shell.on_terminal("login-link", COLUMNS="40")
    assert any(len(line.strip()) > 80 and line.startswith("http://") for line in link.text.splitlines())


def test_an_issuer_is_named_whole_and_never_by_a_file_that_agents_write(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shell.root / "state").mkdir(exist_ok=True)
    settings = shell.root / "state" / "settings.yaml"
    settings.write_text("jwt_issuer: https://evil.example\n")
    refused = shell("status")
    assert (refused.code, "agents can write this file" in refused.err) == (2, True)

    settings.unlink()
    monkeypatch.setenv("WVO_JWT_ISSUER", "https://issuer.example")
    partial = shell("status")
    assert (partial.code, "WVO_JWT_AUDIENCE" in partial.err) == (2, True)
