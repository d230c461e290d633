"""The SDK's own answers to the handshake and the lists, recorded when the package was built (`scripts/snapshot`)."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = __file__.removesuffix("record.py") + "snapshot.json"  # pathlib costs 3 ms


def load() -> dict[str, Any]:
    """What `scripts/snapshot` wrote: {handshake, modern, toolsets, answers}."""
    with open(FILE, "rb") as file:  # noqa: PTH123 - pathlib costs 3 ms
        return json.load(file)


class Record:
    """The SDK's own answers, recorded when the package was built."""

    def __init__(self, snapshot: Mapping[str, Any], toolsets: frozenset[str] | None = None) -> None:
        """`toolsets` None shows the tools of all."""
        self.handshake: list[str] = snapshot["handshake"]
        self.modern: list[str] = snapshot["modern"]
        self._answers: Mapping[str, Mapping[str, dict[str, Any]]] = snapshot["answers"]
        by_toolset: Mapping[str, list[str]] = snapshot["toolsets"]
        shown = by_toolset if toolsets is None else toolsets
        self._shown = {name for toolset in shown for name in by_toolset[toolset]}

    @property
    def stamp(self) -> dict[str, Any]:
        """What the SDK adds to every result of the modern protocol."""
        return self._answers[self.modern[-1]]["tools/list"]["but"]["_meta"]

    def answer(self, version: str, method: str) -> dict[str, Any] | None:
        """{"result": ...} or {"error": ...} at this protocol version; None when there is no record of it.

        The newest handshake version is recorded whole, the others as what differs from it.
        """
        base = self._answers[self.handshake[-1]]
        answer = self._answers.get(version, base).get(method) or base.get(method)
        if answer is not None and "but" in answer:
            answer = {"result": {**base[method]["result"], **answer["but"]}}
        if answer is not None and method == "tools/list":
            tools = [tool for tool in answer["result"]["tools"] if tool["name"] in self._shown]
            answer = {"result": {**answer["result"], "tools": tools}}
        return answer
