"""What people should look at, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import SEVERITY, Listing, ago, clean, text


def page(result: dict[str, Any]) -> RenderableType:
    counted = ", ".join(f"{n} {severity}" for severity, n in result["open"].items() if n)
    head = Text(f"{counted} open." if counted else "No alert is open.", "bold" if counted else "green")
    if not result["alerts"]:
        return head
    more = result["next_cursor"]
    parts: list[RenderableType] = [head, Text(), listing(result["alerts"]).table]
    parts.append(Text(f"The next page: --cursor {clean(more)}" if more else "Seen to: wvo-mcp alert-ack ID", "dim"))
    return Group(*parts)


def listing(alerts: list[dict[str, Any]]) -> Listing:
    """A table, one line each."""
    made = Listing("id>", "severity", "alert", "task", "message~", "since", "times>", "")
    for alert in alerts:
        made.add(
            str(alert["id"]),
            text(alert["severity"], SEVERITY.get(alert["severity"], "")),
            text(alert["kind"]),
            text(alert["task_id"], "bold"),
            text(alert["message"]),
            ago(alert["raised_at"]),
            str(alert["times"]),
            _standing(alert),
        )
    return made


def _standing(alert: dict[str, Any]) -> Text:
    if alert["resolved_at"] is not None:
        return Text("over", "green")
    if alert["acknowledged_at"] is not None:
        return Text(f"seen by {clean(alert['acknowledged_by'])}", "dim")
    return Text("escalated", "red") if alert["escalated_at"] is not None else Text()


def acknowledged(result: dict[str, Any]) -> RenderableType:
    alert = result["alert"]
    return Text.assemble(
        (f"Alert {alert['id']} ", "bold"), f"({clean(alert['kind'])}) is seen to by {clean(alert['acknowledged_by'])}."
    )


def resolved(result: dict[str, Any]) -> RenderableType:
    alert = result["alert"]
    return Text.assemble((f"Alert {alert['id']} ", "bold"), f"({clean(alert['kind'])}) is over.")
