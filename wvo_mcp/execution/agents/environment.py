"""The environment of a worker: the person's, less what belongs to the person, and a login made for workers.

A worker needs the person's tools, and none of the person's rights: PATH, toolchains, languages and proxies stay; what is
called a secret, what leads to logins and sockets of the person, the marks of the agent that this may run in, and
everything of ours and of git goes. HOME is the worker's own (`home.py`).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from wvo_mcp.domain.known_secrets import is_secret_name
from wvo_mcp.domain.providers.catalogue import ProviderKind

_FAMILIES = (
    # Marks and settings of agents, of ours and of git's: what a worker needs of them is put in by name.
    *("CLAUDE", "CODEX", "GEMINI_", "ANTHROPIC_", "OPENAI_", "CURSOR_", "COPILOT_", "MCP_", "WVO_", "GIT_", "VSCODE_"),
    # Ways to the person's logins and sockets; and the folders that a worker's own take the place of.
    *("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "KUBE", "DOCKER_", "SSH_", "GPG_", "DBUS_", "VAULT_", "OP_", "XDG_"),
    *("TWINE_", "HIST", "BASH_FUNC_", "TRACE", "PG"),
)
_NAMES = frozenset(
    {
        *("AI_AGENT", "AGENT", "NETRC", "OTEL_EXPORTER_OTLP_HEADERS", "PIP_CONFIG_FILE", "NPM_CONFIG_USERCONFIG"),
        *("npm_config_userconfig", "CARGO_HOME", "NODE_OPTIONS", "BASH_ENV", "ENV", "ZDOTDIR", "PROMPT_COMMAND"),
        *("HOME", "OLDPWD", "PWD", "SHLVL", "_", "MAIL"),
    }
)
_PROXIES = re.compile(r"(?:https?|all|no|ftp)_proxy", re.IGNORECASE)
"""Without them some machines reach nothing; a password in one is the network's, and stays."""
_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


_TOOLS = {
    "RUSTUP_HOME": ".rustup",
    "PYENV_ROOT": ".pyenv",
    "RBENV_ROOT": ".rbenv",
    "NVM_DIR": ".nvm",
    "VOLTA_HOME": ".volta",
    "SDKMAN_DIR": ".sdkman",
    "ASDF_DATA_DIR": ".asdf",
    "MISE_DATA_DIR": ".local/share/mise",
}


@dataclass(frozen=True, slots=True)
class Login:
    """How a kind of program is given a login made for workers, by variables. `key`: what a key of providers.yaml becomes.
    `any_of`: each is a login. `switches`: a cloud's own login, which takes the variables of that cloud. `settings` go along;
    `address` is where its models are. `how` a person makes such a login."""

    key: str
    any_of: tuple[str, ...] = ()
    switches: Mapping[str, str] | None = None
    settings: tuple[str, ...] = ()
    address: str = ""
    how: str = ""


_VERTEX = r"GOOGLE_.*|CLOUD_ML_REGION|ANTHROPIC_VERTEX_.*"
LOGINS: Mapping[ProviderKind, Login] = {
    ProviderKind.CLAUDE: Login(
        "ANTHROPIC_API_KEY",
        ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        {"CLAUDE_CODE_USE_BEDROCK": r"AWS_.*", "CLAUDE_CODE_USE_VERTEX": _VERTEX},
        ("ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_MAX_RETRIES"),
        "ANTHROPIC_BASE_URL",
        "Run `claude setup-token` and set CLAUDE_CODE_OAUTH_TOKEN to what it prints, or set ANTHROPIC_API_KEY",
    ),
    ProviderKind.CODEX: Login(
        "OPENAI_API_KEY",
        ("OPENAI_API_KEY", "CODEX_API_KEY"),
        None,
        ("OPENAI_ORGANIZATION", "OPENAI_PROJECT"),
        "OPENAI_BASE_URL",
        "Set OPENAI_API_KEY",
    ),
    ProviderKind.GEMINI: Login(
        "GEMINI_API_KEY",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        {"GOOGLE_GENAI_USE_VERTEXAI": r"GOOGLE_.*", "GOOGLE_APPLICATION_CREDENTIALS": r"GOOGLE_.*"},
        (),
        "GOOGLE_GEMINI_BASE_URL",
        "Set GEMINI_API_KEY",
    ),
    ProviderKind.OLLAMA: Login("OPENAI_API_KEY", address="OPENAI_BASE_URL"),
    ProviderKind.OPENAI: Login("OPENAI_API_KEY", address="OPENAI_BASE_URL", how="Set the variable that key_env names"),
}


def plain(environ: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """What of the person's environment any worker may have; `keep` names variables that it gets all the same."""
    return {
        name: value for name, value in environ.items() if name in keep or _PROXIES.fullmatch(name) or _open(name, value)
    }


def toolchains(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that are found by the person's HOME, by the variables that name them otherwise."""
    home = environ.get("HOME")
    found = {name: Path(home) / folder for name, folder in _TOOLS.items() if home and name not in environ}
    return {name: str(folder) for name, folder in found.items() if folder.is_dir()}


def login(
    kind: ProviderKind, environ: Mapping[str, str], key: str | None = None, named: str | None = None
) -> dict[str, str] | None:
    """The variables of a login made for workers; `key` is the one of providers.yaml, under the variable `named` there.
    None: there is none."""
    made = LOGINS[kind]
    if key is not None:
        # What `claude setup-token` prints is no API key, whatever variable or command it came by.
        name = made.any_of[-1] if key.startswith("sk-ant-oat") else made.key
        return {named if named in made.any_of else name: key}
    found = {name: environ[name] for name in made.any_of if environ.get(name, "").strip()}
    for switch, of_cloud in (made.switches or {}).items():
        if environ.get(switch, "").strip() not in ("", "0", "false"):
            found |= {name: value for name, value in environ.items() if name == switch or re.fullmatch(of_cloud, name)}
    if "CODEX_API_KEY" in found:
        found = {made.key: found.get(made.key, found["CODEX_API_KEY"])}  # that its app-server does not read
    return found or None


def settings(kind: ProviderKind, environ: Mapping[str, str], address: str | None = None) -> dict[str, str]:
    """What goes along with a login: where its models are (`address` is that of providers.yaml), and whose they are."""
    made = LOGINS[kind]
    found = {name: environ[name] for name in (*made.settings, made.address) if environ.get(name)}
    return found if address is None else {**found, made.address: address}


def _open(name: str, value: str) -> bool:
    theirs = name.startswith(_FAMILIES) or name in _NAMES or is_secret_name(name)
    return not theirs and _PASSWORD.search(value) is None
