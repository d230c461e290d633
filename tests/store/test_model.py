"""The whole machine of tasks against a model: after every step both must hold the same."""

from collections.abc import Generator

import pytest
from hypothesis import Phase, settings

from tests.support.machine import Machine
from tests.support.model import MAX_EXPIRIES
from tests.support.postgres import Cluster
from tests.support.scale import sized
from tests.support.stores import Slate
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.store.records import graph, queue

pytestmark = pytest.mark.requirement(
    "TASK-2", "TASK-3", "TASK-4", "SCHED-1", "SCHED-2", "SCHED-3", "CLAIM-1", "CLAIM-2", "CLAIM-4", "OBS-2", "CORE-8"
)

BOUNDED = settings(
    max_examples=sized(full=50, short=18),
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    # To shrink takes longer than a test may: the steps of a failure are told as they were found.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture(autouse=True, scope="module")
def small_numbers() -> Generator[None]:
    """Caps that a short run reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "MAX_EXPIRIES", MAX_EXPIRIES)
        yield


@pytest.fixture(scope="module")
def slate(postgres: Cluster) -> Generator[None]:
    """The machine plays in a database."""
    with postgres.database() as url:
        MachineOnPostgres.slate = Slate(postgres, url)
        yield


class MachineOnPostgres(Machine):
    """Statements are answered more slowly there; the rules are the same code, so fewer examples will do."""


class CrampedMachine(Machine):
    """The same with next to no budget for walking up the graph, and with the queue read lane by lane."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(graph.Graph, "budget", 2)
        self.patch.setattr(graph.Graph, "stretch", 3)
        self.patch.setattr(queue, "HEADS", 1)

    def settle(self) -> None:
        for _ in range(100):
            if not self.loop.run(self.bench.read(lambda tx: tx.graph.stale())):
                return
            self.loop.run(self.bench.write(lambda tx: tx.graph.refresh(2)))
        raise AssertionError("the refresh does not come to an end")

    def teardown(self) -> None:
        super().teardown()
        self.patch.undo()


TestTheStore = Machine.TestCase
TestTheStore.settings = BOUNDED
TestTheStoreWithSmallBudgets = CrampedMachine.TestCase
TestTheStoreWithSmallBudgets.settings = BOUNDED
TestTheStoreOnPostgres = pytest.mark.usefixtures("slate")(MachineOnPostgres.TestCase)
TestTheStoreOnPostgres.settings = settings(BOUNDED, max_examples=sized(full=15, short=4))
