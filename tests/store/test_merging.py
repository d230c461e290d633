"""What was verified, snapshots of files, and messages; the same in either database."""

from typing import Any

import pytest

from tests.support.bench import Bench
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-8")]

TAKEN: dict[str, Any] = {"commit_sha": "c", "tree_sha": "t", "trigger": "call", "files_changed": 1, "took_ms": 9}


async def test_what_was_said_of_a_tree_holds_for_the_same_commands_until_it_is_forgotten(bench: Bench) -> None:
    async def put(tx: Transaction) -> None:
        await tx.verifications.put("tree", "tests", passed=False, took_ms=12, verdict={"tail": "no"})
        await tx.verifications.put("tree", "tests", passed=True, took_ms=8, verdict={"tail": "ok"})

    await bench.write(put)
    found = await bench.read(lambda tx: tx.verifications.find("tree", "tests"))
    assert found is not None
    assert (found["passed"], found["took_ms"], found["verdict"]) == (True, 8, {"tail": "ok"})
    assert await bench.read(lambda tx: tx.verifications.find("tree", "other")) is None

    now = bench.clock.now()
    await bench.write(lambda tx: tx.verifications.forget(now))
    assert await bench.read(lambda tx: tx.verifications.find("tree", "tests")) is not None
    bench.clock.advance(1)
    await bench.write(lambda tx: tx.verifications.forget(tx.now))
    assert await bench.read(lambda tx: tx.verifications.find("tree", "tests")) is None


@pytest.mark.requirement("WS-3")
async def test_snapshots_count_in_their_workspace_and_their_refs_in_the_task(bench: Bench) -> None:
    async def take(tx: Transaction, workspace: str) -> dict[str, Any]:
        number = await tx.snapshots.next_number("T1")
        return await tx.snapshots.add({"workspace_id": workspace, "task_id": "T1", "number": number, **TAKEN})

    rows = [await bench.write(lambda tx, one=one: take(tx, one)) for one in ("p1", "p1", "p2")]

    assert [(row["workspace_id"], row["seq"], row["number"]) for row in rows] == [
        ("p1", 1, 1),
        ("p1", 2, 2),
        ("p2", 1, 3),
    ]
    assert [row["seq"] for row in await bench.read(lambda tx: tx.snapshots.of_workspace("p1", 5))] == [2, 1]
    assert [row["number"] for row in await bench.read(lambda tx: tx.snapshots.of_task("T1", 2))] == [3, 2]


@pytest.mark.requirement("CTX-4")
async def test_a_message_waits_for_its_agent_until_it_is_acknowledged(bench: Bench) -> None:
    async def send(tx: Transaction) -> None:
        for number, to in enumerate(("ann", "bob", "ann")):
            await tx.messages.add({"to_agent": to, "kind": "note", "body": f"{number}", "deadline": tx.now})

    await bench.write(send)
    await bench.write(lambda tx: tx.messages.change("n-1", {"acked_at": tx.now}))

    waiting = await bench.read(lambda tx: tx.messages.waiting("ann", 5))
    assert [(one["message_id"], one["body"], one["needs_answer"]) for one in waiting] == [("n-3", "2", 0)]
    assert [one["message_id"] for one in await bench.read(lambda tx: tx.messages.overdue(5))] == ["n-2", "n-3"]
