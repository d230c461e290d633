"""Every statement of the daily work seeks on PostgreSQL too: none reads a table that grows from end to end."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.services import Services
from tests.support.sessions import Servers, a_person
from tests.support.waiting import eventually
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Policy
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("SCALE-1")]

MANY = 10_000
GROWING = (
    "tasks",
    "task_dependencies",
    "events",
    "checkpoints",
    "context_entries",
    "lease_writes",
    "requests",
    "sessions",
    "messages",
    "file_reservations",
)

ALONE = """
DO $$
DECLARE
  ours TEXT;
BEGIN
  FOR ours IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = false)', ours);
  END LOOP;
END $$;
"""
"""Or the server would make statistics of some of the tables once in a minute, which may be in the middle of a test."""

FILL = f"""
ALTER TABLE tasks DISABLE TRIGGER USER;
ALTER TABLE events DISABLE TRIGGER USER;
INSERT INTO lanes (epic_id, capabilities, files) VALUES ('', '[]', '[]');
INSERT INTO tasks (id, seq, title, score, lane_id, status, unmet_deps, created_at, updated_at)
SELECT 'F' || n, n, 'Filler ' || n, n % 97 / 100.0, 1,
  CASE WHEN n % 10 < 6 THEN 'done' ELSE 'pending' END, CASE WHEN n % 10 = 9 THEN 1 ELSE 0 END,
  '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z'
FROM generate_series(1, {MANY}) AS n;
INSERT INTO task_dependencies (task_id, depends_on_task_id)
SELECT 'F' || n, 'F' || n - 1 FROM generate_series(2, {MANY}) AS n WHERE n % 10 = 9;
INSERT INTO events (seq, at, kind, task_id, prev_hash, hash)
SELECT n, '2026-01-01T00:00:00.000Z', 'task.created', 'F' || n, '', 'h' || n FROM generate_series(1, {MANY}) AS n;
INSERT INTO checkpoints (id, task_id, seq, summary, created_at)
SELECT 'F' || n || ':1', 'F' || n, 1, 's', '2026-01-01T00:00:00.000Z' FROM generate_series(1, {MANY}) AS n;
INSERT INTO context_entries (topic, version, content, created_at)
SELECT 'topic ' || n, 1, 'about parsing and ' || n, '2026-01-01T00:00:00.000Z' FROM generate_series(1, {MANY // 4}) AS n;
INSERT INTO lease_writes (task_id, lease_token, tool, input_hash, session_id, agent_id, result, created_at)
SELECT 'F' || n, 1, 'checkpoint', 'h', 's', 'a', '{{}}', '2026-03-02T08:00:00.000Z' FROM generate_series(1, {MANY}) AS n;
INSERT INTO requests (agent_id, tool, request_id, input_hash, result, created_at)
SELECT 'a', 'claim_task', 'r' || n, 'h', '{{}}', '2026-03-02T08:00:00.000Z' FROM generate_series(1, {MANY}) AS n;
INSERT INTO sessions (session_id, agent_id, started_at, ended_at)
SELECT 's' || n, 'a' || n, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z' FROM generate_series(1, {MANY}) AS n;
INSERT INTO messages (message_id, seq, from_agent, to_agent, kind, body, created_at)
SELECT 'n-' || n, n, 'eve', 'a' || n % 50, 'note', 'x', '2026-01-01T00:00:00.000Z' FROM generate_series(1, {MANY}) AS n;
INSERT INTO file_reservations (reservation_id, seq, agent_id, pattern, beginning, mode, created_at, expires_at)
SELECT 'F-' || n, n, 'eve', 'area' || n, 'area' || n, 'exclusive', '2026-01-01T00:00:00.000Z', '2100-01-01T00:00:00.000Z'
FROM generate_series(1, {MANY}) AS n;
UPDATE counters SET n = (SELECT count(*) FROM tasks WHERE status = name);
UPDATE counters SET n = (SELECT count(*) FROM tasks WHERE status = 'pending' AND unmet_deps = 0) WHERE name = 'ready';
UPDATE lanes SET ready = (SELECT n FROM counters WHERE name = 'ready');
INSERT INTO task_search SELECT seq, words_of(id || ' ' || title) FROM tasks;
ALTER TABLE tasks ENABLE TRIGGER USER;
ALTER TABLE events ENABLE TRIGGER USER;
"""


@pytest.fixture(params=["analysed", "fresh"])
def known_to_the_planner(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the planner has statistics; after a copy or a bulk load it has none for a while."""
    yield request.param == "analysed"


async def test_no_operation_of_the_daily_work_scans(
    database_url: str, services: Services, clock: StoppedClock, servers: Servers, known_to_the_planner: bool
) -> None:
    maker = PostgresStore(database_url, clock, servers)
    await maker.open()
    await maker.close()
    with psycopg.connect(database_url, autocommit=True) as raw:
        raw.execute(ALONE.encode())
        raw.execute(FILL.encode())
        if known_to_the_planner:
            raw.execute("ANALYZE")
    before = scanned(database_url)

    store = PostgresStore(database_url, clock, servers)
    await store.open()
    bench = Bench(Services(store, Policy(wip_limit=9), services.roadmap, services.directives), store, clock, servers)
    await a_day(bench)
    await watched(bench)
    await store.close()

    read = {table: scanned(database_url)[table] - before[table] for table in GROWING}
    assert {table: rows for table, rows in read.items() if rows > MANY // 10} == {}


async def watched(bench: Bench) -> None:
    """Health cycles; the walk over the graph, which reads all of it, is not made by them."""
    loop = HealthLoop(Thresholds(), bench.policy, bench.clock)
    for _ in range(6):
        term = await Candidate(bench.store, lambda: ANN, bench.clock).seek()
        assert term is not None
        assert not (await loop.cycle(term)).observation.failed
        bench.clock.advance(minutes=1)


async def a_day(bench: Bench) -> None:
    """What agents and people do all the time, often enough for the server to settle on its plans."""
    owner = a_person()
    for turn in range(8):
        await bench.create(
            a_task(f"T{turn}", priority="critical", epic_id="E", files=[f"src/{turn}/**"], labels=["x"]),
            a_task(f"U{turn}", depends_on=[f"T{turn}"], epic_id="E"),
        )
        await bench.call("plan_next", ANN, limit=5)
        best = (await bench.read(lambda tx: tx.queue.outlines(None, 3)))[-1]
        assert len(await bench.read(lambda tx, cursor=best.cursor: tx.queue.outlines(None, 20, cursor))) == 20
        claimed = (await bench.claim(ANN, request_id=f"c{turn}"))["task"]["id"]
        assert claimed == f"T{turn}"
        await bench.claim(BOB)
        sent = await bench.call("message_send", BOB, to=claimed, body="x")
        await bench.call("heartbeat", ANN, task_id=claimed, progress=10, ack=[sent["message_id"]])
        await bench.call("message_inbox", ANN, all=True)
        await bench.call("files_reserve", ANN, patterns=[f"src/{turn}/a"], task_id=claimed)
        await bench.call("checkpoint", ANN, task_id=claimed, summary="half")
        await bench.call("context_write", ANN, topic=f"notes {turn}", content="parsing of paths", task_id=claimed)
        await bench.call("context_read", ANN, query="parsing")
        await bench.complete(claimed, ANN)
        await bench.call("get_task", ANN, task_id=claimed)
        await bench.call("list_tasks", ANN, status="pending", epic_id="E")
        await bench.call("list_tasks", ANN, query="filler 77")
        held = await bench.read(lambda tx: tx.queue.held_by_agent(BOB.agent_id))
        await bench.call("release_task", BOB, task_id=held[0].id)
        await bench.call("status", owner)
        await bench.call("events", owner, last=True, limit=20)
        await bench.call("events", owner, task_id=claimed)
        await bench.write(lambda tx: tx.queue.renew(ANN.session_id))
        await bench.write(lambda tx: tx.replays.forget(tx.now - timedelta(days=1)))
        await bench.call("cancel", owner, task_id=f"U{turn}")
        bench.clock.advance(seconds=30)


def scanned(url: str) -> dict[str, int]:
    """Rows that were read by sequential scans, by table, once everybody has left: then they have told what they did."""
    with psycopg.connect(url, autocommit=True) as raw:
        others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1"
        eventually(lambda: raw.execute(others).fetchone() is None)
        return dict(raw.execute("SELECT relname, seq_tup_read FROM pg_stat_user_tables").fetchall())
