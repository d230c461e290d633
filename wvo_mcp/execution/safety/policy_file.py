"""`state/policy.yaml`: its text as shipped, and from its bytes to what it states, or to one error with every line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wvo_mcp.domain.policy import DEFAULT_SEVERITIES, LIMITS, SEVERITIES, Stated, held_back
from wvo_mcp.domain.rules import Difference
from wvo_mcp.domain.sandbox import CEILING
from wvo_mcp.execution.replacement import disk_errors, read_at_most
from wvo_mcp.execution.trust import POLICY, Trust

if TYPE_CHECKING:
    from wvo_mcp.execution.yaml.reading import Reader, Report
    from wvo_mcp.execution.yaml.tree import Node

_MOST_BYTES = 2**20
_MOST_LABELS = 50


def default_text() -> str:
    """The file as `init` writes it: it changes nothing."""
    return Path(__file__).with_name("policy.yaml").read_text("utf-8")


def schema_text() -> str:
    """The JSON schema that stands beside it."""
    return Path(__file__).with_name("policy.schema.json").read_text("utf-8")


def stated_in(path: Path) -> Stated:
    """Nothing where there is no file. Raises InvalidInput, StoreUnavailable."""
    with disk_errors(path):
        data = read_at_most(path, _MOST_BYTES, "policy", path.name)
    if data is None or not data.strip() or data == default_text().encode():
        return {}
    return _parsed(data, path.name)


def _parsed(data: bytes, name: str) -> Stated:
    # Late: a hook must answer at once, and most files are the one that was shipped.
    from wvo_mcp.execution.yaml import reading
    from wvo_mcp.execution.yaml.reading import Report, listed, record, scalar, text, whole

    entries = listed(text(500), 500)
    severity = scalar(f"one of {', '.join(SEVERITIES)}", _severity)
    sizes = dict.fromkeys(("file_mb", "workspace_mb", "workspaces_mb"), whole(1, 1_000_000))
    most = {"asks": whole(0, 1_000), "command_bytes": whole(1, LIMITS["command_bytes"]), **sizes}
    read = record(
        {
            "sandbox": _sandbox(entries),
            "paths": record(
                dict.fromkeys(("allowed", "forbidden", "protected"), entries), "'allowed:', 'forbidden:', ..."
            ),
            "commands": record(dict.fromkeys(("allow", "block", "ask", "watch"), entries), "'block:', 'ask:', ..."),
            "severities": record(dict.fromkeys(DEFAULT_SEVERITIES, severity), "'outside: error', ..."),
            "limits": record(most, "'asks: 20', ..."),
        },
        "'paths:', 'commands:', 'severities:', 'limits:' and 'sandbox:'",
    )
    content = reading.decoded(data, _MOST_BYTES, "policy", name)
    report = Report(content)
    root = reading.parsed(content, report, "policy", name)
    stated: dict[str, dict[str, Any]] = {} if root is None or reading.is_null(root) else read(root, report) or {}
    if report.wrong:
        raise report.refusal("policy", name)
    return cast("Stated", _plain(stated))


def _sandbox(entries: "Reader") -> "Reader":
    from wvo_mcp.execution.yaml.reading import number, record, refuse, whole
    from wvo_mcp.execution.yaml.tree import MappingNode

    most = asdict(CEILING)
    keys = "'images:', 'mounts:', 'env:', 'egress:' and 'limits:'"
    grant = {
        **dict.fromkeys(("images", "env", "egress"), entries),
        "mounts": record({"read": entries, "write": entries}, "'read:' and 'write:'"),
        "limits": record(
            {name: number(int(one)) if isinstance(one, float) else whole(1, one) for name, one in most.items()},
            "'memory_mb: 512', ...",
        ),
    }

    def by_label(node: "Node", report: "Report") -> dict[str, Any] | None:
        if not isinstance(node, MappingNode) or len(node.entries) > _MOST_LABELS:
            return refuse(node, report, f"'LABEL: {{...}}' for at most {_MOST_LABELS} labels")
        report.keys(node, node.entries)
        read = record(grant, keys)
        found = {label: report.inside(f".{label}", one, read) for label, (_, one) in node.entries.items()}
        return {label: one for label, one in found.items() if one is not None}

    return record({**grant, "by_label": by_label}, keys)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in cast("dict[str, Any]", value).items()}
    return list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value


def _severity(text: str) -> str | None:
    return text if text in SEVERITIES else None


def open_differences(path: Path, trust: Trust) -> tuple[Stated, list[Difference]]:
    """What the file states, and what of it waits for a person. Raises InvalidInput, StoreUnavailable."""
    stated = stated_in(path)
    return stated, held_back(stated, trust.accepted(POLICY))[1]
