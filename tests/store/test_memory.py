"""What is remembered: versions, search that no input can break, and budgets."""

from typing import Any

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.domain.memory import tokens
from wvo_mcp.errors import NotFound
from wvo_mcp.store.records.memory import RECENT

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-1")]

HOSTILE = [
    '"',
    "'",
    '"unbalanced',
    "a AND",
    "OR OR",
    "NOT",
    "NEAR(a b, 3)",
    "topic: a",
    "col*",
    "*",
    "^a",
    "a + b",
    "-a",
    "{a b}: c",
    "(",
    "a) OR (b",
    "'; DROP TABLE context_entries; --",
    "%",
    "\\",
    "🙂",
    "\u202e",
    "été ß İ",
    " ",
    "",
    "x" * 16_000,
    " ".join(f"w{n}" for n in range(2_000)),
]


async def remember(bench: Bench, topic: str, content: str, **more: Any) -> int:
    return int((await bench.call("context_write", topic=topic, content=content, **more))["version"])


async def topics(bench: Bench, **asked: Any) -> list[str]:
    return [entry["topic"] for entry in (await bench.call("context_read", **asked))["entries"]]


async def test_no_query_is_an_error(bench: Bench) -> None:
    await remember(bench, "a topic", "a AND b: (c) 'd' 🙂 été")
    for number, query in enumerate(HOSTILE):
        await bench.create(a_task(f"T{number}", description=query[:500]))

        assert isinstance(await topics(bench, query=query), list), query
        assert isinstance((await bench.call("list_tasks", query=query))["tasks"], list), query


async def test_words_are_found_whatever_operators_stand_between_them(bench: Bench) -> None:
    await remember(bench, "cache", "Redis keeps sessions; never OR them")
    await remember(bench, "other", "nothing of it")

    for query in ("redis", "REDIS", 'redis"', "redis AND missing", "(sessions)", "NOT sessions", "cache:"):
        assert await topics(bench, query=query) == ["cache"], query


async def test_the_best_match_comes_first_and_each_topic_once(bench: Bench) -> None:
    await remember(bench, "long", "The deploy script is one of many things that are told here, " + "and more " * 50)
    await remember(bench, "deploy", "old deploy")
    await remember(bench, "deploy", "deploy: run the deploy script")

    found = (await bench.call("context_read", query="deploy script"))["entries"]

    assert [(entry["topic"], entry["version"]) for entry in found] == [("deploy", 2), ("long", 1)]
    assert found[0]["rank"] <= found[1]["rank"]


async def test_what_a_newer_version_no_longer_says_is_not_found(bench: Bench) -> None:
    await bench.create(a_task("T", title="database port"))
    await remember(bench, "where", "the database port is 5432")
    assert await topics(bench, query="port") == ["where"]

    await remember(bench, "where", "everything listens on a socket")

    assert await topics(bench, query="port") == []
    assert (await bench.claim(ANN))["context"] == []


async def test_every_version_stays_and_the_newest_is_read_first(bench: Bench) -> None:
    assert [await remember(bench, "port", str(n)) for n in (8000, 8001, 8002)] == [1, 2, 3]

    entries = (await bench.call("context_read", topic="port", limit=2))["entries"]

    assert [(entry["version"], entry["content"]) for entry in entries] == [(3, "8002"), (2, "8001")]


async def test_an_unknown_topic_names_those_that_look_like_it(bench: Bench) -> None:
    await remember(bench, "database-port", "5432")

    with pytest.raises(NotFound) as unknown:
        await bench.call("context_read", topic="databse-port")

    assert unknown.value.details["near"] == ["database-port"]
    assert unknown.value.details["field"] == "topic"


async def test_a_search_can_be_kept_to_one_task(bench: Bench) -> None:
    await bench.create(a_task("T"), a_task("U"))
    await remember(bench, "for T", "same words", task_id="T")
    await remember(bench, "for U", "same words", task_id="U")

    assert await topics(bench, query="words", task_id="T") == ["for T"]
    assert await topics(bench, task_id="U") == ["for U"]
    assert sorted(await topics(bench)) == ["for T", "for U"]


async def test_an_answer_keeps_to_its_budget(bench: Bench) -> None:
    for n in range(10):
        await remember(bench, f"topic {n}", f"{n} " + "x" * 1_000)

    entries = (await bench.call("context_read", limit=10, max_tokens=1_000))["entries"]

    assert 1 < sum(tokens(entry["topic"]) + tokens(entry["content"]) for entry in entries) <= 1_000


async def test_a_claim_searches_only_the_newest_entries(bench: Bench) -> None:
    await bench.create(a_task("T", title="migrate invoices"))
    await remember(bench, "invoices", "invoices are legal documents")
    assert [entry["topic"] for entry in (await bench.claim(ANN))["context"]] == ["invoices"]
    await bench.call("release_task", task_id="T")

    await bench.force(
        """
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO context_entries (topic, version, content, created_at) SELECT 'noise ' || i, 1, 'noise', '' FROM n
        """,
        RECENT,
    )

    assert (await bench.claim(ANN))["context"] == []


@pytest.mark.requirement("CLAIM-5")
async def test_checkpoints_are_a_chain_for_each_task(bench: Bench) -> None:
    bench.limits(agent_wip_limit=2)
    await bench.create(a_task("T"), a_task("U"))
    for task_id in ("T", "U"):
        await bench.claim(ANN, task_id)
    for task_id, summary in (("T", "one"), ("U", "first"), ("T", "two")):
        await bench.call("checkpoint", task_id=task_id, summary=summary, files=["src/é.py"], progress=50)

    first, second = (await bench.call("get_task", task_id="T"))["checkpoints"]

    assert (first["seq"], first.get("parent_id"), second["seq"], second["parent_id"]) == (1, None, 2, first["id"])
    assert (second["summary"], second["files"], second["progress"]) == ("two", ["src/é.py"], 50)
