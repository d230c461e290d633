"""What of a person's environment a worker gets."""

from pathlib import Path

import pytest

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.execution.agents import environment

PERSON = {
    "PATH": "/usr/bin:/people/ada/.cargo/bin",
    "LANG": "en_GB.UTF-8",
    "HTTPS_PROXY": "http://user:word@proxy:3128",
    "VIRTUAL_ENV": "/people/ada/project/.venv",
    "JAVA_HOME": "/opt/java",
    "DATABASE_URL": "postgresql://shop@localhost/shop",
}


@pytest.mark.requirement("WORK-8")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLAUDECODE", "1"),
        ("CLAUDE_CODE_SESSION_ID", "abc"),
        ("CODEX_SANDBOX", "seatbelt"),
        ("CODEX_THREAD_ID", "t"),
        ("GEMINI_CLI", "1"),
        ("GEMINI_API_KEY", "key-of-the-person"),
        ("ANTHROPIC_API_KEY", "key-of-the-person"),
        ("OPENAI_API_KEY", "key-of-the-person"),
        ("WVO_ALERT_WEBHOOK_SECRET", "0123456789abcdef"),
        ("WVO_DATABASE_URL", "postgresql://localhost/x"),
        ("WVO_WORKER_KEY", "0" * 64),
        ("GIT_DIR", "/people/ada/project/.git"),
        ("GIT_CONFIG_GLOBAL", "/people/ada/.gitconfig"),
        ("GITHUB_TOKEN", "ghx"),
        ("NPM_TOKEN", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_PROFILE", "admin"),
        ("SSH_AUTH_SOCK", "/run/ssh"),
        ("KUBECONFIG", "/people/ada/.kube/config"),
        ("POSTGRES_PASSWORD", "x"),
        ("SHOP_URL", "https://ada:word@shop.example/"),
        ("HISTFILE", "/people/ada/.bash_history"),
        ("BASH_ENV", "/people/ada/.bashrc"),
        ("XDG_CONFIG_HOME", "/people/ada/.config"),
        ("HOME", "/people/ada"),
        ("TRACEPARENT", "00-0-0-00"),
        ("NODE_OPTIONS", "--require /people/ada/spy.js"),
    ],
)
def test_what_is_the_persons_alone_does_not_reach_a_worker(name: str, value: str) -> None:
    assert environment.plain({**PERSON, name: value}) == PERSON


def test_a_variable_that_the_accepted_roadmap_names_reaches_workers() -> None:
    given = {**PERSON, "NPM_TOKEN": "x", "GITHUB_TOKEN": "y"}
    assert environment.plain(given, keep=("NPM_TOKEN",)) == {**PERSON, "NPM_TOKEN": "x"}


def test_toolchains_that_are_found_by_the_persons_home_are_named(tmp_path: Path) -> None:
    (tmp_path / ".rustup").mkdir()
    (tmp_path / ".nvm").mkdir()
    found = environment.toolchains({"HOME": str(tmp_path), "NVM_DIR": "/opt/nvm"})
    assert found == {"RUSTUP_HOME": str(tmp_path / ".rustup")}
    assert environment.toolchains({}) == {}


def test_a_worker_gets_the_login_of_its_own_kind_only() -> None:
    given = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g"}
    assert environment.login(ProviderKind.CLAUDE, given) == {"ANTHROPIC_API_KEY": "a"}
    assert environment.login(ProviderKind.CODEX, given) == {"OPENAI_API_KEY": "o"}
    assert environment.login(ProviderKind.CODEX, {"CODEX_API_KEY": "c"}) == {"OPENAI_API_KEY": "c"}
    assert environment.login(ProviderKind.GEMINI, given) == {"GEMINI_API_KEY": "g"}
    assert environment.login(ProviderKind.CLAUDE, {"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": " "}) is None


def test_the_key_of_the_providers_file_wins_and_gets_the_name_that_its_program_reads() -> None:
    given = {"ANTHROPIC_API_KEY": "the person's"}
    claude = ProviderKind.CLAUDE
    assert environment.login(claude, given, "ours", "TEAM_KEY") == {"ANTHROPIC_API_KEY": "ours"}
    assert environment.login(claude, given, "sk-ant-oat01-x", "TEAM_KEY") == {
        "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-x"
    }
    assert environment.login(claude, given, "x", "ANTHROPIC_AUTH_TOKEN") == {"ANTHROPIC_AUTH_TOKEN": "x"}


def test_a_login_of_a_cloud_brings_the_variables_of_that_cloud() -> None:
    given = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-central-1", "GOOGLE_CLOUD_PROJECT": "other"}
    found = environment.login(ProviderKind.CLAUDE, given)
    assert found == {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-central-1"}
    assert environment.login(ProviderKind.CLAUDE, {**given, "CLAUDE_CODE_USE_BEDROCK": "0"}) is None


def test_the_address_of_the_providers_file_wins_over_the_environments() -> None:
    given = {"OPENAI_BASE_URL": "http://elsewhere"}
    assert environment.settings(ProviderKind.OLLAMA, given, "http://127.0.0.1:1") == {
        "OPENAI_BASE_URL": "http://127.0.0.1:1"
    }
    assert environment.settings(ProviderKind.CODEX, given) == given
