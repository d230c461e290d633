"""Whether all is well, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.paint import SEVERITY, Listing, ago, clean, label, text

_STATUS = {"healthy": "bold green", "degraded": "bold yellow", "unhealthy": "bold red"}


def check(result: dict[str, Any]) -> RenderableType:
    now = instant(result["timestamp"])
    checks = Listing("check", "found~")
    for name, found in result["checks"].items():
        checks.add(text(name.replace("_", " ")), text(found, "green" if found == "ok" else "yellow"))
    parts: list[RenderableType] = [text(result["status"], _STATUS.get(result["status"], "")), checks.table]
    if result["anomalies"]:
        listing = Listing("severity", "anomaly", "message~", "since")
        for one in result["anomalies"]:
            listing.add(
                text(one["severity"], SEVERITY.get(one["severity"], "")),
                text(one["kind"]),
                text(one["message"], "dim" if one["acknowledged"] else ""),
                ago(one["since"], now),
            )
        parts += [Text(), listing.table]
    return Group(*parts)


def run(result: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    if not result["acted"]:
        parts += [text(f"Only shown: session {clean(result['leader'])} leads, and it alone acts.", "yellow"), Text()]
    parts += [label("Observed"), Padding(_observed(result["observed"]), (0, 0, 0, 2)), Text(), label("Found")]
    found = Listing("severity", "anomaly", "message~")
    for one in result["anomalies"]:
        found.add(text(one["severity"], SEVERITY.get(one["severity"], "")), text(one["kind"]), text(one["message"]))
    parts.append(Padding(found.table if result["anomalies"] else Text("Nothing is wrong.", "green"), (0, 0, 0, 2)))
    decided = result["decided"]
    if decided["resolved"]:
        parts += [Text(), text(f"Over: {', '.join(decided['resolved'])}", "green")]
    if decided["withheld"]:
        parts += [
            Text(),
            text(f"{len(decided['withheld'])} remedies were not allowed (auto-remediation is off)", "yellow"),
        ]
    planned = result["done"] or [{**one, "result": "not done", "message": ""} for one in decided["remedies"]]
    if planned:
        deeds = Listing("remedy", "for", "result", "message~")
        for one in planned:
            deeds.add(text(one["action"]), text(one["subject"], "bold"), text(one["result"]), text(one["message"]))
        parts += [Text(), label("Remedies"), Padding(deeds.table, (0, 0, 0, 2))]
    return Group(*parts)


def _observed(seen: dict[str, Any]) -> RenderableType:
    metrics: dict[str, Any] | None = seen["metrics"]
    if metrics is None:
        return text("The counts could not be read.", "red")
    return text(
        f"{metrics['pendingCount']} pending, {metrics['queueDepth']} to be claimed, {metrics['inProgressCount']} in progress"
        f" ({metrics['wipUtilization']:.0%} of the limit), {metrics['doneCount']} done;"
        f" {metrics['throughputLastHour']} completed in the last hour;"
        f" {metrics['busyAgents']} agents busy, {metrics['idleAgents']} idle"
    )
