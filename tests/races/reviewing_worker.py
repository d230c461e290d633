"""A process that completes, takes, answers, loses and passes reviews at random. Run by the nursery.

What it was told goes to a file of its agent, a line for each act.
"""

import json
import random
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.support.services import Services
from tests.support.sessions import a_person, an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.review import Review, ReviewAnswer, ReviewTrigger, Verdict
from wvo_mcp.domain.task import Status
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.checking import asking, people, taking
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction, WatchedStore

CANDIDATES = ["x", "y", "z"]
PERSON = a_person("pat")


def warm() -> None:
    with TemporaryDirectory() as folder:
        run(folder, None, "warm", 1, 5)


def run(folder: str, url: str | None, agent_id: str, seed: int, acts: int) -> None:
    anyio.run(_live, Path(folder), url, agent_id, random.Random(seed), acts)


async def _live(folder: Path, url: str | None, agent_id: str, chance: random.Random, acts: int) -> None:
    caller = an_agent(agent_id, uuid.uuid4().hex)
    store = a_store(folder, url, synchronous="OFF")
    with attending(folder, url, caller.session_id):
        await store.open()
        roadmap, directives = RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder)
        services = Services(store=store, policy=Policy(wip_limit=50), roadmap=roadmap, directives=directives)
        reviewer = _Reviewer(store, services, caller, folder)
        try:
            for _ in range(acts):
                await reviewer.act(chance)
        finally:
            await store.close()


class _Reviewer:
    def __init__(self, store: WatchedStore, services: Services, caller: Caller, folder: Path) -> None:
        self._store, self._services, self._caller = store, services, caller
        self._told = folder / f"told-{caller.agent_id}"

    def tell(self, *said: Any) -> None:
        with self._told.open("a") as file:
            file.write(json.dumps(said) + "\n")

    async def act(self, chance: random.Random) -> None:
        kind = chance.choices(["submit", "review", "lose", "person"], [3, 8, 1, 1])[0]
        try:
            if kind == "submit":
                await self._submit(chance)
            elif kind == "person":
                await self._person(chance)
            else:
                await self._review(chance, loses=kind == "lose")
        except WvoError as error:
            self.tell("refused", kind, error.code)

    async def _submit(self, chance: random.Random) -> None:
        claimed = await ALL["claim_task"](self._services, self._caller, {})
        if claimed["task"] is None:
            self.tell("nothing")
            return
        task_id, commit = claimed["task"]["id"], f"{chance.getrandbits(160):040x}"

        async def work(tx: Transaction) -> None:
            task = await tx.tasks.get(task_id)
            for old in await tx.submissions.of_task(task_id):
                if old["state"] == "queued":
                    await tx.submissions.change(old["entry_id"], {"state": "withdrawn"})
            number = await tx.submissions.next_number(task_id)
            entry = await tx.submissions.add(
                {"task_id": task_id, "number": number, "repository": "r", "host": "h", "path": "", "target": "main"}
                | {"commit_sha": commit, "base_sha": "b" * 40}
            )
            made = {"entry_id": entry["entry_id"], "state": "queued", "commit": commit}
            moved = await lifecycle.complete(tx, task, "done", [], work={"submission": made})
            await asking.ask(
                tx,
                moved.task,
                commit=commit,
                base="b" * 40,
                trigger=ReviewTrigger.REQUEST,
                asked_by=self._caller.agent_id,
                entry=entry,
                candidates=CANDIDATES,
            )

        await self._store.write(self._caller, work)
        self.tell("submitted", task_id, commit)

    async def _review(self, chance: random.Random, *, loses: bool) -> None:
        me, provider = self._caller, chance.choice(CANDIDATES)

        async def take(tx: Transaction) -> Review | None:
            me, own = self._caller, provider
            return await taking.take(tx, agent_id=me.agent_id, session_id=me.session_id, provider=own, for_others=True)

        review = await self._store.write(me, take)
        if review is None:
            self.tell("none")
            return
        self.tell("took", review.review_id, review.lease_token)
        if loses:
            await self._store.write(me, lambda tx: taking.lost(tx, review, "it fell asleep"))
            return
        verdict = chance.choices([*Verdict], [6, 3, 1])[0]
        said = ReviewAnswer(verdict=verdict, summary="as it is")
        await self._store.write(me, lambda tx: taking.answer(tx, review, review.lease_token, said))
        self.tell("answered", review.review_id, review.lease_token, verdict.value)

    async def _person(self, chance: random.Random) -> None:
        """Decides what is asked, or passes what was stopped."""
        for approval in await self._store.read(PERSON, lambda tx: tx.approvals.waiting(1)):
            known, verb = approval.approval_id, chance.choice(["approve", "deny"])
            await ALL[verb](self._services, PERSON, {"id": known, "reason": "so it is"})
            self.tell("decided", known, verb)

        async def passed(tx: Transaction) -> list[str]:
            blocked = await tx.tasks.page({"status": Status.BLOCKED}, 0, 1)
            return [(await people.judge(tx, task, Verdict.APPROVED, "it is fine")).id for task in blocked]

        for task_id in await self._store.write(PERSON, passed):
            self.tell("passed", task_id)
