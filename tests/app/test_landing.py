"""Work of a whole autopilot lands: real worktrees, real git, a real verification; conflicts are mended in their sessions."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.support.flights import Flight, Step
from tests.support.scale import FULL

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-2", "MERGE-4")]
CHECK = """\
grep -rq '^<<<<<<<' --include='*.txt' . && { echo 'E  conflict markers are left'; exit 1; }
for file in T*.txt; do
  test ! -e $file || test "$(cat $file)" = "work of ${file%.txt}" || { echo "E  $file is wrong"; exit 1; }
done
"""
COMPLETE: Sequence[Step] = ({"call": "complete_task", "with": {"summary": "written"}}, {"stop": "I am done."})
MEND: Sequence[Step] = ({"run": "sed -i '/^<<<<<<<\\|^=======\\|^>>>>>>>/d' shared.txt"}, *COMPLETE)


def writes(task_id: str, text: str | None = None) -> list[Step]:
    return [{"write": f"{task_id}.txt", "text": text or f"work of {task_id}\n"}]


async def test_a_conflict_is_mended_in_the_session_that_meets_it(flight: Flight) -> None:
    scripts = {
        one: [[*writes(one), {"run": f"echo line of {one} > shared.txt"}, *COMPLETE, *MEND]] for one in ("T1", "T2")
    }
    flight.begin(
        {"T1": [], "T2": []}, scripts, files={"shared.txt": "begin\n", "check.sh": CHECK},
        project={"verify": ["sh check.sh"]},
    )  # fmt: skip

    summary = await flight.fly(agents=2)

    assert flight.statuses() == {"T1": "done", "T2": "done"}, (summary, flight.news)
    assert {one["task_id"] for one in summary["landed"]} == {"T1", "T2"}
    assert (summary["failed"], summary["waiting"]) == ([], [])
    shared = flight.git("show", "main:shared.txt").splitlines()
    assert sorted(shared) == ["line of T1", "line of T2"]
    rows = flight.sql("SELECT task_id, client_session, outcome FROM workers ORDER BY seq")
    assert [row["outcome"] for row in rows] == ["completed"] * 3
    assert rows[2]["client_session"] == next(
        row["client_session"] for row in rows[:2] if row["task_id"] == rows[2]["task_id"]
    )
    entries = flight.sql("SELECT state, verified FROM merge_entries ORDER BY seq")
    assert sorted(row["state"] for row in entries) == ["conflict", "merged", "merged"]
    assert flight.git("status", "--porcelain") == ""
    assert flight.git("for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"
    assert flight.git("worktree", "list").count("\n") == int((flight.root / "state/worktrees/.verify").exists())


async def test_a_red_verification_is_mended_in_its_session(flight: Flight) -> None:
    script = [*writes("T1", "wrong\n"), *COMPLETE, *writes("T1"), *COMPLETE]
    flight.begin({"T1": []}, {"T1": [script]}, files={"check.sh": CHECK}, project={"verify": ["sh check.sh"]})

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "done"}, (summary, flight.news)
    assert [one["event"] for one in flight.news if one["event"] in ("red", "landed")] == ["red", "landed"]
    (red, merged) = flight.sql("SELECT state, verified, findings FROM merge_entries ORDER BY seq")
    assert "T1.txt is wrong" in red["findings"]
    assert (merged["state"], merged["verified"]) == ("merged", "verified")


async def test_work_that_never_passes_waits_for_a_person_and_others_land(flight: Flight) -> None:
    bad = [*writes("T1", "wrong\n"), *COMPLETE] * 5
    flight.begin(
        {"T1": [], "T2": []}, {"T1": [bad], "T2": [[*writes("T2"), *COMPLETE]]}, files={"check.sh": CHECK},
        project={"verify": ["sh check.sh"]},
    )  # fmt: skip

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "blocked", "T2": "done"}, (summary, flight.news)
    assert [one["task_id"] for one in summary["failed"]] == ["T1"]
    assert flight.git("log", "--format=%s", "main").splitlines() == ["Do T2", "begin"]


@pytest.mark.long
@pytest.mark.requirement("MERGE-7")
async def test_many_workers_in_one_repository_lose_nothing(flight: Flight) -> None:
    """Overlapping files, a third in conflict on purpose, and a person who commits and edits meanwhile."""
    names = [f"T{number}" for number in range(200 if FULL else 40)]
    scripts: dict[str, list[Sequence[Step]]] = {}
    for number, one in enumerate(names):
        shared = [{"run": f"echo line of {one} >> shared.txt"}] if number % 3 == 0 else []
        wrong = writes(one, "wrong\n") if number % 10 == 1 and not shared else []
        mends: list[Step] = [*MEND, *MEND]
        if wrong:
            mends = [*writes(one), *COMPLETE]
        scripts[one] = [[*(wrong or writes(one)), *shared, *COMPLETE, *mends]]
    tasks: dict[str, list[str]] = {one: [] for one in names}
    tasks["T5"] = ["T3"]
    flight.begin(
        tasks, scripts, files={"shared.txt": "begin\n", "check.sh": CHECK}, project={"verify": ["sh check.sh"]},
        settings={"WVO_WIP_LIMIT": "20"},
    )  # fmt: skip
    (flight.root / "mine.txt").write_text("never committed\n")
    commits: list[str] = []
    over = anyio.Event()

    async def person() -> None:
        while not over.is_set():
            commits.append(await anyio.to_thread.run_sync(_commit, flight, len(commits)))
            with anyio.move_on_after(1):
                await over.wait()

    summary: Any = {}
    async with anyio.create_task_group() as group:
        group.start_soon(person)
        summary = await flight.fly(agents=8, max_tasks=1_000)
        over.set()

    statuses = flight.statuses()
    blocked = {one for one, status in statuses.items() if status == "blocked"}
    assert {one for one, status in statuses.items() if status != "done"} == blocked, (summary, flight.news)
    assert blocked <= {one for number, one in enumerate(names) if number % 3 == 0}
    conflicts = flight.sql("SELECT task_id, count(*) AS n FROM merge_entries WHERE state = 'conflict' GROUP BY 1")
    assert {one["task_id"] for one in conflicts if one["n"] >= 3} == blocked, "how many meet so often is chance"
    assert len(blocked) < len(names) / 3
    assert {one["task_id"] for one in summary["landed"]} == set(names) - blocked
    main = set(flight.git("rev-list", "main").split())
    assert set(commits) <= main, "a person's commit is lost"
    assert (flight.root / "mine.txt").read_text() == "never committed\n"
    assert flight.git("status", "--porcelain") == "?? mine.txt"
    shared = flight.git("show", "main:shared.txt").splitlines()
    wanted = {f"line of {one}" for number, one in enumerate(names) if number % 3 == 0 and one not in blocked}
    assert sorted(shared) == sorted({"begin", *wanted}), (blocked, flight.git("log", "-p", "--", "shared.txt"))
    for entry in flight.sql("SELECT * FROM merge_entries"):
        _is_kept(flight, entry, main)
    await anyio.to_thread.run_sync(_check_all, flight, flight.folder / "checked")


def _commit(flight: Flight, number: int) -> str:
    """A person's own."""
    (flight.root / f"own{number}.txt").write_text("mine\n")
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@localhost")
    while True:
        ran = subprocess.run(
            ["sh", "-c", f"git add own{number}.txt && git {' '.join(who)} commit -q -m own{number} -- own{number}.txt"],
            cwd=flight.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode == 0:
            return flight.git("log", "-1", "--format=%H", f"--grep=^own{number}$", "main")
        assert "lock" in ran.stderr, ran.stderr


def _is_kept(flight: Flight, entry: dict[str, Any], main: set[str]) -> None:
    """Each submitted tree can be reached, and each entry has its end and its reason."""
    if entry["state"] == "merged":
        assert entry["landed_sha"] in main
    else:
        assert entry["state"] in ("conflict", "red", "withdrawn"), entry
        assert entry["reason"]
    flight.git("cat-file", "-e", f"{entry['commit_sha']}^{{tree}}")
    pinned = flight.git("for-each-ref", "--format=%(refname)", f"--points-at={entry['commit_sha']}")
    assert pinned or entry["landed_sha"], entry


def _check_all(flight: Flight, folder: Path) -> None:
    """Every commit of the target passes the verification."""
    for commit in flight.git("rev-list", "--first-parent", "main").split():
        place = folder / commit
        place.mkdir(parents=True)
        files = subprocess.run(["git", "archive", commit], cwd=flight.root, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(place)], input=files, check=True)
        subprocess.run(["sh", "check.sh"], cwd=place, check=True, capture_output=True)
