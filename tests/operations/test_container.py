"""The container: parts by their types, one error for what is not configured, late parts built once."""

import pytest

from tests.support.bench import ANN, Bench
from wvo_mcp.domain.lease import Policy, Role
from wvo_mcp.errors import Forbidden, NotConfigured
from wvo_mcp.operations import ALL, Audience, Container, Effect, Late
from wvo_mcp.ports.backend import Backups

pytestmark = pytest.mark.anyio


def test_a_part_is_found_by_its_type_or_by_the_name_of_its_type() -> None:
    policy = Policy(wip_limit=7)

    assert Container({Policy: policy}).get(Policy) is policy
    assert Container({"wvo_mcp.domain.lease.Policy": policy}).get(Policy) is policy


def test_what_is_not_configured_answers_one_error_that_names_it() -> None:
    with pytest.raises(NotConfigured, match="Backups is not configured"):
        Container({Backups: None}).get(Backups)


def test_a_late_part_is_built_when_it_is_asked_for_and_only_once() -> None:
    built: list[Policy] = []

    def build() -> Policy:
        built.append(Policy())
        return built[-1]

    container = Container({Policy: Late(build)})
    assert not built

    assert container.get(Policy) is container.having({Backups: object()}).get(Policy)
    assert len(built) == 1


async def test_an_operation_whose_port_is_missing_says_so(bench: Bench) -> None:
    with pytest.raises(NotConfigured):
        await ALL["backup_list"](bench.services, ANN, {})


async def test_the_role_of_a_caller_is_judged_before_its_input(bench: Bench) -> None:
    for op in ALL.values():
        if op.role >= Role.OPERATOR:
            assert op.audience is Audience.PEOPLE
            assert op.effect is not Effect.READ or op.name == "token_list"
            with pytest.raises(Forbidden):
                await op(bench.services, ANN, {"no": "such field"})
