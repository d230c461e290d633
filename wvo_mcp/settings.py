"""Every setting, read once from the environment and the project's settings file (contract, section 1)."""

import os
import re
import shlex
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from wvo_mcp.project import VARIABLES, Project, WrongSetting, chosen_toolsets

_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_SECRET = frozenset({"WVO_ALERT_WEBHOOK_URL", "WVO_ALERT_WEBHOOK_SECRET", "WVO_WORKER_KEY"})
"""Their values are not repeated when they are wrong."""
_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Settings(BaseModel):
    """The environment, validated. Durations in seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=lambda field: VARIABLES.get(field, field))

    root: Path
    root_reason: str = "ROOT"
    referring: frozenset[str] = frozenset()
    """Variables whose value the settings file takes from another one; no message repeats it."""
    state_dir: Path = Path()
    database_url: str | None = None
    toolsets: frozenset[str] = frozenset({"core"})
    agent_id: str | None = Field(default=None, pattern=_ID)
    provider: Literal["claude", "codex", "gemini", "local"] | None = None
    capabilities: tuple[str, ...] = ()
    epics: frozenset[str] | None = None
    wip_limit: int = Field(default=3, ge=1)
    agent_wip_limit: int = Field(default=1, ge=1)
    lease_seconds: int = Field(default=600, ge=1, le=86_400)
    lease_grace_seconds: int = Field(default=60, ge=0, le=86_400)
    quiet_max_seconds: int = Field(default=7_200, ge=1)
    agents: int = Field(default=3, ge=1)
    max_iterations: int = Field(default=100, ge=1)
    health_interval_ms: int = Field(default=60_000, ge=100, le=604_800_000)
    health_auto_remediate: bool = True
    stale_task_minutes: float = Field(default=10.0, gt=0, le=525_600)
    alert_command: tuple[str, ...] = ()
    alert_webhook_url: str | None = Field(default=None, repr=False)
    alert_webhook_secret: str | None = Field(default=None, repr=False)
    alert_min_severity: Literal["info", "warning", "critical"] = "warning"
    otel_enabled: bool = False
    roadmap_commits: bool = True
    worktrees_dir: Path | None = None
    worker_timeout_seconds: float = Field(default=3_600.0, gt=0, le=604_800)
    worker_idle_seconds: float = Field(default=300.0, gt=0, le=604_800)
    worker_memory_mb: int = Field(default=2_048, ge=64)
    worker_cpu_percent: int = Field(default=50, ge=1)
    worker_output_mb: int = Field(default=256, ge=1)
    execution_mode: Literal["interactive", "deterministic"] = "interactive"
    worker_max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    worker_key: str | None = Field(default=None, repr=False)
    approval_expires_seconds: int = Field(default=86_400, ge=1, le=31_536_000)
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = None
    sqlite_synchronous: Literal["FULL", "NORMAL"] = "FULL"

    @field_validator("toolsets", "epics", "capabilities", mode="before")
    @classmethod
    def _list(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        names = _listed(value)
        if info.field_name == "toolsets":
            return names or ["core"]
        if info.field_name == "epics":
            if wrong := [name for name in names if not re.match(_ID, name)]:
                raise ValueError(f"{wrong[0]!r} is not the id of an epic; allowed: a comma list of ids")
            if not names:
                raise ValueError("it names no epic; allowed: a comma list of ids, or leave it unset")
        return names

    @field_validator("alert_command", mode="before")
    @classmethod
    def _command(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            words = tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"{error}; allowed: a program and its arguments, quoted as for a shell") from None
        if not words:
            raise ValueError("it names no program; leave it unset")
        return words

    @field_validator("alert_webhook_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]", value, re.IGNORECASE):
            raise ValueError("it begins with https:// (or http://) and names a host")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _keys(cls, value: str | None) -> str | None:
        local = r"http://(localhost|127\.0\.0\.1|\[::1\])[:/]"
        if value is not None and not re.match(rf"https://[^/\s@]+/|{local}", value, re.IGNORECASE):
            raise ValueError("it begins with https:// and names a host and a path; http:// only for this machine")
        return value

    @field_validator("alert_webhook_secret")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        coded = (value or "").removeprefix("whsec_")
        if value is not None and (len(coded) < 16 or (coded != value and not re.fullmatch(_BASE64, coded))):
            raise ValueError(
                "allowed: whsec_ and base64 as Standard Webhooks has it, or any text; 16 characters or more"
            )
        return value

    @property
    def database(self) -> Path:
        return self.state_dir / "state.db"

    @property
    def worktrees(self) -> Path:
        """The folder of the worktrees of tasks (WVO_WORKTREES_DIR)."""
        return self.root / (self.worktrees_dir or self.state_dir / "worktrees")

    @property
    def roadmap(self) -> Path:
        return self.state_dir / "roadmap.yaml"

    def enabled(self, known: frozenset[str]) -> frozenset[str]:
        """The toolsets to show, of those known. Raises WrongSetting."""
        return chosen_toolsets(",".join(sorted(self.toolsets)), known, referring="WVO_TOOLSETS" in self.referring)


def load(cwd: Path | None = None) -> Settings:
    """The settings of this process. Raises WrongSetting."""
    return settings_of(Project(os.environ, str(cwd or Path.cwd())))


def settings_of(project: Project) -> Settings:
    """The settings that hold in a project. Raises WrongSetting."""
    if not Path(project.root).is_dir():
        raise WrongSetting(f"{project.reason}={project.root!r}: it is not a folder; allowed: one that exists, or unset")
    env = project.environ
    database_url = env.get("WVO_DATABASE_URL")
    if database_url and not database_url.startswith(("postgresql://", "postgres://")):
        raise WrongSetting(
            f"{_named(project, 'WVO_DATABASE_URL')}={_without_secrets(database_url)!r}: it begins with postgresql://, as in"
            " postgresql://USER:PASSWORD@HOST:5432/DATABASE; unset, the state is kept in SQLite"
        )
    given = {name: value for name, value in env.items() if value}  # an empty variable is one that is not set
    places = {"root": project.root, "root_reason": project.reason, "WVO_STATE_DIR": project.state_dir}
    try:
        settings = Settings.model_validate({**given, **places, "referring": project.referring})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0])
        message = re.sub(r"^\w+ should\b", "must", str(first["msg"]).removeprefix("Value error, "))
        if name in project.referring:
            raise WrongSetting(
                f"{_named(project, name)}: the value that it refers to is not allowed for {name}"
            ) from None
        value = "***" if name in _SECRET else env.get(name)
        raise WrongSetting(f"{_named(project, name)}={value!r}: {message}") from None
    if settings.alert_webhook_url is not None and settings.alert_webhook_secret is None:
        raise WrongSetting(
            "WVO_ALERT_WEBHOOK_SECRET=None: a webhook needs a secret to be signed with, 16 characters or more"
        )
    given_jwt = {name: env.get(name) for name in ("WVO_JWT_ISSUER", "WVO_JWT_AUDIENCE", "WVO_JWT_JWKS_URL")}
    missing = [name for name, value in given_jwt.items() if not value]
    if 0 < len(missing) < len(given_jwt):
        raise WrongSetting(f"{missing[0]}=None: {', '.join(given_jwt)} are set together, or none of them")
    return settings


def _named(project: Project, name: str) -> str:
    """Where a person finds the setting: the variable, or file, line and key."""
    return project.origins.get(name, name)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _without_secrets(url: str) -> str:
    """As much of a wrong address as cannot hold a password."""
    return url.partition(":")[0] + ":***" if re.search(r"[@?=]", url) else url
