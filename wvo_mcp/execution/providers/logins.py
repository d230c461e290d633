"""Is the user logged in to a program, or is there a key? Judged by names of variables and files; contents are not shown."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.catalogue import Provider, ProviderKind

_MOST_BYTES = 1_000_000

_VARIABLES: Mapping[ProviderKind, tuple[str, ...]] = {
    ProviderKind.CLAUDE: (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
    ),
    ProviderKind.CODEX: ("OPENAI_API_KEY", "CODEX_API_KEY"),
    ProviderKind.GEMINI: ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
}
"""What the programs themselves look for."""


@dataclass(frozen=True, slots=True)
class Login:
    """`here` is None when that is not known."""

    here: bool | None
    how: str


def by_variable(provider: Provider, environ: Mapping[str, str]) -> Login | None:
    """The first variable with something in it; None when there is none."""
    own = (provider.key_env,) if provider.key_env else ()
    for name in (*own, *_VARIABLES.get(provider.kind, ())):
        if environ.get(name, "").strip():
            return Login(True, f"{name} is set")
    return None


def by_file(provider: Provider, environ: Mapping[str, str], now: datetime) -> Login | None:
    """What the program itself keeps in the home of this user; None for what is not a program."""
    home = Path(environ.get("HOME") or Path.home())
    if provider.kind is ProviderKind.CLAUDE:
        folder = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
        found = _kept(folder / ".credentials.json", home, ("claudeAiOauth",), "expiresAt", "refreshToken", now)
        if found.here is False and sys.platform == "darwin":
            return Login(None, "the keychain, where claude keeps its login on this system, is not read")
        return found
    if provider.kind is ProviderKind.CODEX:
        folder = Path(environ.get("CODEX_HOME") or home / ".codex")
        return _kept(folder / "auth.json", home, (), "", "", now)
    if provider.kind is ProviderKind.GEMINI:
        return _kept(home / ".gemini" / "oauth_creds.json", home, (), "expiry_date", "refresh_token", now)
    return None


def missing(provider: Provider, file: Login | None) -> Login:
    """Nothing was found."""
    if file is not None:
        return file if provider.key_env is None else Login(file.here, f"{provider.key_env} is not set; {file.how}")
    if provider.key_env is not None:
        return Login(False, f"{provider.key_env} is not set")
    return Login(None, "providers.yaml names no key")


def _kept(path: Path, home: Path, inside: tuple[str, ...], expiry: str, renewal: str, now: datetime) -> Login:
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    try:
        with path.open("rb") as file:
            held: Any = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return Login(False, f"there is no {shown}")
    except OSError as error:
        return Login(None, f"{shown} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Login(None, f"{shown} cannot be understood")
    for name in inside:
        held = _of(held, name)
    if not isinstance(held, dict) or not held:
        return Login(False, f"{shown} holds no login")
    until = _instant(_of(held, expiry))
    if until is None or until > now:
        return Login(True, shown if until is None else f"{shown}, until {iso(until)[:16]}Z")
    if _of(held, renewal):
        return Login(True, f"{shown}, renewed when it is used")
    return Login(False, f"{shown} expired at {iso(until)[:16]}Z")


def _of(held: Any, name: str) -> Any:
    return cast("dict[str, Any]", held).get(name) if isinstance(held, dict) else None


def _instant(value: Any) -> datetime | None:
    """From milliseconds since 1970, as the programs write it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
