"""What people should look at, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import SEVERITY, ago, clean, text


def page(result: dict[str, Any]) -> RenderableType:
    counted = ", ".join(f"{n} {severity}" for severity, n in result["open"].items() if n)
    head = Text(f"{counted} open." if counted else "No alert is open.", "bold" if counted else "green")
    if not result["alerts"]:
        return head
    more = result["next_cursor"]
    parts: list[RenderableType] = [head, Text(), *(_alert(alert) for alert in result["alerts"])]
    parts.append(Text(f"The next page: --cursor {clean(more)}" if more else "Seen to: wvo-mcp alert-ack ID", "dim"))
    return Group(*parts)


def _alert(alert: dict[str, Any]) -> RenderableType:
    """What it is on a line, and below it the whole message: that is what people act on."""
    head = Text.assemble(
        (str(alert["id"]), "bold"),
        "  ",
        (clean(alert["severity"]), SEVERITY.get(alert["severity"], "")),
        f"  {clean(alert['kind'])}",
        (f"  {clean(alert['task_id'])}" if alert["task_id"] else "", "bold"),
        "  ",
        ago(alert["raised_at"]),
        (f", {alert['times']} times  " if alert["times"] > 1 else "  ", "dim"),
        _state(alert),
    )
    return Group(head, Padding(text(alert["message"]), (0, 0, 0, 3)))


def _state(alert: dict[str, Any]) -> Text:
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
