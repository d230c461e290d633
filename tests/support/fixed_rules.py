"""Rules of a project that a test sets."""

from dataclasses import replace

from wvo_mcp.domain.rules import Rules


class FixedRules:
    """`ports.rules.ProjectRules` that a test sets."""

    def __init__(self) -> None:
        self.rules = Rules()

    async def refresh(self) -> None: ...

    def current(self) -> Rules:
        return self.rules

    def aim(self, target: str) -> None:
        self.rules = replace(self.rules, target=target)

    def unaccepted(self) -> str | None:
        return None

    def problem(self) -> str | None:
        return None
