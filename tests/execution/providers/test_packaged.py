"""The file that everybody begins with."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wvo_mcp.domain.providers.catalogue import NO_LIMITS, TIERS, Catalogue, ProviderKind
from wvo_mcp.domain.providers.routing import RouteRequest, decide
from wvo_mcp.domain.providers.state import Presence, RoutingState
from wvo_mcp.domain.task import TaskType
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.providers.parse import defaults, packaged_text, parse

pytestmark = pytest.mark.requirement("PROV-1")

NAME = "state/providers.yaml"


def packaged(text: str | None = None) -> Catalogue:
    return parse((packaged_text() if text is None else text).encode(), NAME)


def test_it_has_every_kind_of_provider_with_every_tier_priced_and_limited() -> None:
    providers = packaged().providers

    assert {one.kind for one in providers} == set(ProviderKind)
    assert [one.name for one in providers if not one.enabled] == ["server"]
    for one in providers:
        assert tuple(one.tiers) == TIERS
        assert all(model.name for model in one.tiers.values())
        assert one.command or one.base_url
        if one.place.value == "cloud":
            assert one.key_env and one.limits.hourly and one.limits.daily
            assert all(0 < model.cost.tokens_in < model.cost.tokens_out for model in one.tiers.values())


def test_it_says_what_would_hold_without_it_but_for_limits_and_preferences() -> None:
    silent = packaged("providers: {p: {kind: ollama, tiers: {low: {model: m}}}}")
    said = packaged()

    assert replace(said, providers=(), digest="", bands=()) == replace(silent, providers=(), digest="", bands=())
    assert said.bands[2].prefer == ("claude",)
    assert [replace(band, prefer=()) for band in said.bands] == [*silent.bands]


@pytest.mark.parametrize(
    "place",
    [
        "{}",
        "bands: [{}]",
        "providers: {{one: {}}}",
        "providers: {{one: {{tiers: {{low: {}}}}}}}",
        "providers: {{one: {{tiers: {{low: {{cost: {}}}}}}}}}",
        "agent_limits: {}",
    ],
)
def test_it_shows_every_key_that_there_is(place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        packaged(place.format("{zzz: 1}"))

    known = re.search(r"unknown key 'zzz'. Known are ([a-z_, ]+)", repr(caught.value.details))
    assert known is not None
    for key in known[1].split(", "):
        assert re.search(rf"^[ #-]*{key}\b|[{{ ]{key}:", packaged_text(), re.MULTILINE), key


def test_what_it_shows_commented_out_is_right_too() -> None:
    text = re.sub(r"^(\s*)# ((?:agent|task)_limits|key_env|share):", r"\1\2:", packaged_text(), flags=re.MULTILINE)
    catalogue = packaged(text)

    assert catalogue.agent_limits.hourly and catalogue.agent_limits.daily and catalogue.task_limits.daily
    server = catalogue.provider("server")
    assert server is not None and server.key_env and server.share
    with_command = packaged(re.sub(r"^(\s*)# (key_command):", r"\1\2:", packaged_text(), flags=re.MULTILINE))
    assert with_command.providers[-1].key_command[0] == "pass"


def chosen(complexity: int, kind: TaskType, labels: tuple[str, ...] = (), **found: Presence) -> str | None:
    state = RoutingState(datetime(2026, 3, 2, tzinfo=UTC))
    one = decide(packaged(), found, state, RouteRequest(complexity, kind, labels=labels)).chosen
    return None if one is None else f"{one.provider} {one.tier}"


HERE = Presence(True, frozenset({"qwen3:8b", "qwen3-coder:30b", "gpt-oss:120b"}))
GONE = Presence(False, note="it is not running")


@pytest.mark.requirement("PROV-2")
def test_it_routes_as_its_comments_say() -> None:
    assert chosen(9, TaskType.GENERATION, ollama=HERE) == "claude high"
    assert chosen(3, TaskType.GENERATION, ollama=HERE) == "codex low"  # the cheapest in the cloud
    assert chosen(3, TaskType.REVIEW, ollama=HERE) == "ollama low"
    assert chosen(6, TaskType.REVIEW, ollama=HERE) == "ollama medium"
    assert chosen(6, TaskType.REVIEW, ollama=GONE) == "codex medium"
    assert chosen(6, TaskType.REVIEW, ollama=Presence(True, frozenset({"qwen3:8b"}))) == "codex medium"
    assert chosen(6, TaskType.GENERATION, ("data:local",), ollama=HERE) == "ollama medium"
    assert chosen(6, TaskType.GENERATION, ("data:local",), ollama=GONE) is None


def test_the_example_of_the_handbook_is_right() -> None:
    handbook = (Path(__file__).parents[3] / "docs" / "providers.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", handbook, re.DOTALL)
    assert example is not None

    assert [one.name for one in packaged(example[1]).providers] == ["claude", "ollama"]


def test_without_a_file_the_same_holds_without_limits() -> None:
    assert defaults().digest == ""
    for one, as_written in zip(defaults().providers, packaged().providers, strict=True):
        assert one.limits == NO_LIMITS
        assert all(model.limits == NO_LIMITS for model in one.tiers.values())
        assert {tier: model.name for tier, model in one.tiers.items()} == {
            tier: model.name for tier, model in as_written.tiers.items()
        }
