"""What a person has accepted of a project's files, kept outside of the project, where its agents do not write.

`trust.json`: {ROOT: {part: {sha256, accepted, at}}}; `sha256` is that of `accepted` as canonical JSON.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.replacement import disk_errors, fingerprint, locked, write_whole

PROVIDERS = "providers"
ROADMAP = "roadmap"
POLICY = "policy"
PLANS = "plans"
"""The parts: of providers.yaml what we run or call, `project` and `verify` of the roadmap, the safety policy, and commands that
plans added to their tasks."""


def trust_file(environ: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/wvo-mcp/trust.json`; `~/.config` where the variable is not set to an absolute path."""
    given = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(given) if given.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return folder / "wvo-mcp" / "trust.json"


class Trust:
    """Of one project, by its ROOT."""

    def __init__(self, environ: Mapping[str, str], root: Path) -> None:
        self.file = trust_file(environ)
        self._root = str(root.resolve())

    def fingerprint(self) -> str | None:
        """Changes whenever something may have been accepted."""
        return fingerprint(self.file)

    def accepted(self, part: str) -> Mapping[str, Any]:
        """Empty where nothing was, and where the file cannot be understood: then only what ships with the program holds."""
        try:
            kept = self._read().get(self._root, {}).get(part, {})
            accepted = kept.get("accepted", {})
            return accepted if accepted and _digest_of(accepted) == kept.get("sha256") else {}
        except (InvalidInput, AttributeError):
            return {}

    def accept(self, part: str, content: Mapping[str, Any]) -> str:
        """Keep it as accepted; its SHA-256. Raises InvalidInput for a file that is not ours, StoreUnavailable."""
        from wvo_mcp.domain.instant import iso  # with pydantic, which a hook of a client starts without

        digest = _digest_of(content)
        with disk_errors(self.file):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.file.parent):  # another project's command may be here at the same moment
                projects = self._read()
                entry = {"sha256": digest, "accepted": content, "at": iso(datetime.now(UTC))}
                projects.setdefault(self._root, {})[part] = entry
                write_whole(self.file, json.dumps(projects, indent=1, ensure_ascii=False).encode() + b"\n", 0o600)
        return digest

    def _read(self) -> dict[str, Any]:
        try:
            content: Any = json.loads(self.file.read_bytes() or b"{}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInput("trust", f"{self.file} cannot be read: {error}; correct or remove it") from None
        if not isinstance(content, dict) or any(not isinstance(one, dict) for one in cast("Any", content).values()):
            raise InvalidInput("trust", f"{self.file} is not a JSON object of such; correct or remove it")
        return cast("dict[str, Any]", content)


def _digest_of(content: Mapping[str, Any]) -> str:
    from wvo_mcp.domain.roadmap import digest_of  # most starts find nothing that was accepted

    return digest_of(content)
