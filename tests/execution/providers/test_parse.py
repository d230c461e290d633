"""Each mistake in providers.yaml is named with its line, its field and what is allowed; none repeats a secret."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.timing import least_seconds
from wvo_mcp.domain.providers.catalogue import Band, Catalogue, Cost, Limits, Mode, Place, ProviderKind, Tier
from wvo_mcp.domain.task import TaskType
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.providers.parse import MAX_BYTES, packaged_text, parse

pytestmark = [pytest.mark.requirement("PROV-1"), pytest.mark.timeout(200)]

NAME = "state/providers.yaml"
LEAST = "providers:\n  one:\n    kind: ollama\n    tiers: {low: {model: m}}\n"
SECRET = "sk-ant-api03-" + "aB3" * 20 + "AA"


def read(text: str | bytes) -> Catalogue:
    return parse(text if isinstance(text, bytes) else text.encode(), NAME)


def refused(text: str | bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert len(caught.value.message) < 1_500
    assert caught.value.details["field"] == "providers"
    assert caught.value.details["file"] == NAME
    return caught.value


def problems(text: str) -> list[tuple[int, str]]:
    return [(each["line"], each["field"]) for each in refused(text).details["problems"]]


def test_all_that_may_be_said_is_understood() -> None:
    catalogue = read("""\
mode: local
bands: [{up_to: 3, tier: low, prefer: [mine]}, {up_to: 10, tier: high}]
types: {review: cloud}
shares: {cloud: 12.5, local: 87.5}
local_labels: ["private", "data:local"]
estimates: {high: 5}
cached_weight: 0.5
count_unreported: yes
warn_at: 0.9
on_limit: switch
wait_at_most: 90m
daily_cost: 12.5
agent_limits: {hourly: 1}
task_limits: {daily: 1000000000000}
providers:
  mine:
    kind: openai
    place: cloud
    enabled: no
    base_url: https://[::1]:8443/v1/
    key_command: pass show "my server"
    capabilities: [vision]
    share: 20
    limits: {hourly: 10, daily: 20}
    tiers:
      high: {model: big, cost: {input: 1.5, output: 6, cached: 0.1}, limits: {daily: 7}}
      low: {model: small, cost: {input: 1, output: 2}, effort: minimal}
  program:
    kind: codex
    command: [/opt/my codex, --profile, x]
    key_env: MY_KEY
    tiers: {medium: {model: m}}
""")

    mine, program = catalogue.providers
    assert (catalogue.mode, catalogue.bands) == (
        Mode.LOCAL,
        (Band(3, Tier.LOW, ("mine",)), Band(10, Tier.HIGH)),
    )
    assert (catalogue.types, catalogue.shares) == (
        {TaskType.REVIEW: Place.CLOUD},
        {Place.CLOUD: 12.5, Place.LOCAL: 87.5},
    )
    assert catalogue.estimates == {Tier.LOW: 20_000, Tier.MEDIUM: 60_000, Tier.HIGH: 5}
    assert catalogue.local_labels == {"private", "data:local"}
    assert (catalogue.cached_weight, catalogue.count_unreported, catalogue.warn_at) == (0.5, True, 0.9)
    assert (catalogue.on_limit, catalogue.wait_at_most, catalogue.daily_cost) == ("switch", timedelta(minutes=90), 12.5)
    assert (catalogue.agent_limits, catalogue.task_limits) == (Limits(1), Limits(None, 10**12))
    assert (mine.kind, mine.place, mine.enabled) == (ProviderKind.OPENAI, Place.CLOUD, False)
    assert (mine.base_url, mine.key_command) == ("https://[::1]:8443/v1", ("pass", "show", "my server"))
    assert (mine.capabilities, mine.share, mine.limits) == ({"vision"}, 20, Limits(10, 20))
    assert mine.tiers[Tier.HIGH].cost == Cost(1.5, 6, 0.1)
    assert mine.tiers[Tier.HIGH].limits == Limits(None, 7)
    assert (mine.tiers[Tier.LOW].effort, mine.tiers[Tier.HIGH].effort) == ("minimal", None)
    assert mine.tiers[Tier.LOW].cost.tokens_cached == 1  # no dearer than it is told, and no cheaper
    assert (program.command, program.key_env) == (("/opt/my codex", "--profile", "x"), "MY_KEY")
    assert len(catalogue.digest) == 64


def test_the_least_that_is_enough_gets_what_its_kind_needs() -> None:
    one = read(LEAST).providers[0]
    codex = read(LEAST.replace("ollama", "codex")).providers[0]

    assert (one.place, one.base_url, one.command) == (Place.LOCAL, "http://127.0.0.1:11434", ())
    assert (codex.place, codex.base_url, codex.command) == (Place.CLOUD, None, ("codex",))
    assert read(LEAST).digest != read(LEAST + "# a comment\n").digest


PROVIDER = "providers:\n  one:\n    kind: ollama\n    tiers:\n      low:\n        model: m\n"


@pytest.mark.parametrize(
    ("text", "line", "field", "allowed"),
    [
        (LEAST + "colour: red\n", 5, "colour", "unknown key 'colour'. Known are mode, "),
        (LEAST + "shares_: {}\n", 5, "shares_", "Did you mean shares?"),
        (LEAST + "mode: both\n", 5, "mode", "expected one of cloud, local, hybrid, found 'both'"),
        (LEAST + "shares: {cloud: 70, local: 40}\n", 5, "shares", "expected shares that sum to 100, found 110"),
        (LEAST + "shares: {cloud: 70}\n", 5, "shares", "expected shares that sum to 100, found 70"),
        (LEAST + "types: {revue: local}\n", 5, "types.revue", "Did you mean review?"),
        (LEAST + "estimates: {low: 0}\n", 5, "estimates.low", "expected a whole number from 1 to "),
        (
            LEAST.replace("model: m", "model: m, effort: --x"),
            4,
            "providers.one.tiers.low.effort",
            "expected a word of its program such as low, medium or high",
        ),
        (LEAST + "on_limit: stop\n", 5, "on_limit", "expected one of wait, switch, found 'stop'"),
        (LEAST + "wait_at_most: 6 hours\n", 5, "wait_at_most", "expected a duration like 90s, 30m, 6h or 2d"),
        (LEAST + "warn_at: 80\n", 5, "warn_at", "expected a number from 0 to 1, found '80'"),
        (LEAST + "agent_limits: {hourly: -5}\n", 5, "agent_limits.hourly", "expected a whole number from 1"),
        (LEAST + "task_limits: 5\n", 5, "task_limits", "expected 'hourly:' or 'daily:' with tokens"),
        (LEAST + "bands: []\n", 5, "bands", "expected a list of bands"),
        (LEAST + "bands:\n- {up_to: 9, tier: low}\n", 6, "bands", "expected the last band to reach 10"),
        (LEAST + "bands:\n- {up_to: 10}\n", 6, "bands[0].tier", "expected 'tier: ...', found nothing"),
        (
            LEAST + "bands:\n- {up_to: 5, tier: low}\n- {up_to: 5, tier: high}\n",
            7,
            "bands[1].up_to",
            "expected more than 5",
        ),
        (
            LEAST + "bands:\n- {up_to: 10, tier: low, prefer: [two]}\n",
            6,
            "bands[0].prefer",
            "unknown provider 'two'. Known are one.",
        ),
        ("mode: local\n", 1, "providers", "expected 'providers: ...', found nothing"),
        ("providers: []\n", 1, "providers", "expected providers, each with its name"),
        (
            "providers:\n  One: {kind: ollama, tiers: {low: {model: m}}}\n",
            2,
            "providers.One",
            "expected a name of 1 to 32",
        ),
        (LEAST + "  one: {kind: ollama, tiers: {low: {model: m}}}\n", 5, "providers.one", "each key once"),
        ("providers:\n  one: {tiers: {low: {model: m}}}\n", 2, "providers.one.kind", "expected 'kind: ...'"),
        ("providers:\n  one: {kind: llama}\n", 2, "providers.one.tiers", "expected 'tiers: ...'"),
        (
            "providers:\n  one: {kind: ollama, tiers: {}}\n",
            2,
            "providers.one.tiers",
            "at least one of low, medium, high",
        ),
        (
            "providers:\n  one: {kind: ollama, tiers: {huge: {model: m}}}\n",
            2,
            "providers.one.tiers.huge",
            "Known are low, medium, high.",
        ),
        (
            "providers:\n  one: {kind: ollama, tiers: {low: {cost: {input: 1, output: 2}}}}\n",
            2,
            "providers.one.tiers.low.model",
            "expected 'model: ...', found nothing",
        ),
        ("providers:\n  one: {kind: ollama, tiers: {low: m}}\n", 2, "providers.one.tiers.low", "expected 'model:'"),
        (PROVIDER + "        cost: {input: 1}\n", 7, "providers.one.tiers.low.cost.output", "expected 'output: ...'"),
        (
            PROVIDER + "        cost: {input: -1, output: 1}\n",
            7,
            "providers.one.tiers.low.cost.input",
            "a number from 0",
        ),
        (PROVIDER + "    limits: {daily: 1.5}\n", 7, "providers.one.limits.daily", "expected a whole number"),
        (PROVIDER + "    enabled: perhaps\n", 7, "providers.one.enabled", "expected true or false"),
        (PROVIDER + "    base_url: localhost:11434\n", 7, "providers.one.base_url", "expected an address like http://"),
        (PROVIDER + "    command: ollama\n", 7, "providers.one.command", "expected none"),
        (PROVIDER + '    key_command: "pass \'show"\n', 7, "providers.one.key_command", "quoted as for a shell"),
        (PROVIDER + "    key_env: A\n    key_command: b\n", 8, "providers.one.key_command", "not both"),
        (PROVIDER + "    key_env: two words\n", 7, "providers.one.key_env", "expected the name of a variable"),
        (PROVIDER + "    share: 101\n", 7, "providers.one.share", "expected a number from 0 to 100"),
        (LEAST.replace("ollama", "openai"), 3, "providers.one.base_url", "expected the address of the server"),
        ("- a\n", 1, "", "expected keys such as 'mode:' and 'providers:'"),
    ],
)
def test_every_mistake_is_named_where_it_stands(text: str, line: int, field: str, allowed: str) -> None:
    error = refused(text)

    found = [one for one in error.details["problems"] if one["field"] == field]
    assert [one["line"] for one in found] == [line], error.details["problems"]
    assert allowed in found[0]["problem"]
    first = error.details["problems"][0]
    assert error.message.startswith(f"{NAME}:{first['line']}: ")


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = "mode: x\nproviders:\n  one: {kind: y, tiers: {low: {}}}\nwarn_at: z\n"

    assert problems(text) == [
        (1, "mode"),
        (3, "providers.one.kind"),
        (3, "providers.one.tiers.low.model"),
        (4, "warn_at"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "key: {0}",
        "api_key: {0}",
        "apiKey: {0}",
        "ANTHROPIC_API_KEY: {0}",
        "auth_token: {0}",
        "password: {0}",
        "{0}: x",
        "key_env: {0}",
        "key_env: [{0}]",
        "key_command: echo {0}",
        "key_command: [echo, {0}]",
        "command: claude --api-key {0}",
        "base_url: https://user:{0}@example.org/v1",
        "base_url: https://example.org/v1?key={0}",
        "capabilities: [{0}]",
        "kind: {0}",
        "enabled: {0}",
        "share: {0}",
        "tiers: {{low: {{model: {0}}}}}",
        "tiers: {{{0}: {{model: m}}}}",
        "limits: {{hourly: {0}}}",
        "limits: !{0} x",
        "limits: *{0}",
    ],
)
@pytest.mark.requirement("SAFE-3")
def test_a_secret_in_the_file_is_refused_and_never_repeated(line: str) -> None:
    for secret in (SECRET, "ghp_" + "a1B2" * 9):
        error = refused(
            f"providers:\n  one:\n    {line.format(secret)}\n    kind: claude\n    tiers: {{low: {{model: m}}}}\n"
        )

        assert secret not in f"{error.payload()} {error}"


@pytest.mark.parametrize(
    "secret", ["IxejVqBCSduFuEdJXgjchnPBh2nP0Xs74X6KviE5", "f3dc3207d6653dac152e9d788a1d2c0041b7aa90"]
)
@pytest.mark.parametrize(
    "line",
    [
        "kind: {0}", "{0}: x", "key_env: {0}", "enabled: {0}", "limits: {{hourly: {0}}}", "limits: {{{0}: 1}}",
        "limits: !{0} x", "limits: *{0}", "tiers: {{low: {{model: m, cost: {{input: {0}}}}}}}",
    ],
)  # fmt: skip
@pytest.mark.requirement("SAFE-3")
def test_what_may_be_a_key_of_no_known_shape_is_not_repeated_either(line: str, secret: str) -> None:
    error = refused(
        f"providers:\n  one:\n    {line.format(secret)}\n    kind: claude\n    tiers: {{low: {{model: m}}}}\n"
    )

    assert secret not in f"{error.payload()} {error}"
    assert "state/providers.yaml:3:" in error.message


@pytest.mark.parametrize("name", ["HOME", "PATH", "USER", "LC_ALL", "XDG_RUNTIME_DIR", "WVO_AGENT_ID"])
@pytest.mark.requirement("SAFE-3")
def test_no_key_stands_in_a_variable_of_ordinary_words(name: str) -> None:
    assert f"{name} holds none" in refused(LEAST + f"    key_env: {name}\n").message


def test_a_program_of_no_words_is_none() -> None:
    for field in ("command", "key_command"):
        assert "found an empty list" in refused(LEAST + f"    {field}: []\n").message


@pytest.mark.requirement("SAFE-3")
def test_the_advice_for_a_key_names_the_two_ways() -> None:
    for name in ("key", "api_key", "openai-api-key"):
        error = refused(LEAST + f"    {name}: hunter2hunter2\n")

        assert "key_env" in error.message and "key_command" in error.message
        assert "hunter2" not in f"{error.payload()}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected 'providers:'"),
        (b"# nothing but a comment\n", "expected 'providers:'"),
        (b"providers:\n  one: \x00\n", "expected printable text, found U+0000"),
        (b"providers:\n  one: \xff\xfe\n", "2: expected UTF-8, found the byte 0xFF"),
        ("providers: {}\n".encode("utf-16"), "found UTF-16"),
        (b"providers:\n\tone: {}\n", "2: expected spaces for indentation, found a tab"),
        (b"a: {" * 1_000, "expected at most 12 levels"),
        (b"[" * 100_000, "expected at most 12 levels"),
        (b"providers: *x\n", "expected the value itself, found '*x'"),
        (b"providers: {}\n---\nproviders: {}\n", "expected one document"),
        (b"providers: !!python/object/apply:os.system [ls]\n", "expected no tag"),
        (b"x: y\n" * 2_000_000, "expected at most 0.25 MiB, found more"),
        (b"".join(b"k%d: 1\n" % i for i in range(20_000)), "expected at most 100 keys"),
    ],
)
def test_hostile_texts_are_refused_in_a_moment(data: bytes, said: str) -> None:
    assert said in refused(data).message
    assert least_seconds(lambda: refused(data), 2) < 2


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_cut_or_changed_the_answer_is_a_catalogue_or_a_named_mistake(data: st.DataObject) -> None:
    text = packaged_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 400)))
    put = data.draw(
        st.sampled_from(["", " ", "\n", ":", "- ", "{", "}", "*a", "&a ", "'", '"', "0", "-1", "x: ", "<<: "])
    )
    try:
        catalogue = read(text[:start] + put + text[end:])
    except InvalidInput as error:
        assert error.details["problems"][0]["line"] >= 1
        assert error.message.startswith(f"{NAME}:")
    else:
        assert catalogue.bands[-1].up_to == 10
        assert all(one.tiers for one in catalogue.providers)
        assert sum(catalogue.shares.values()) == pytest.approx(100)


def test_the_largest_file_that_is_allowed_takes_little_time() -> None:
    text = packaged_text()
    text += "# " + "x" * (MAX_BYTES - len(text.encode()) - 3) + "\n"

    assert len(read(text).providers) == 5
    assert least_seconds(lambda: read(text), 2) < 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ('"a\\nb"', "without line breaks"),
        ('"a\\e[31mb"', "without line breaks"),
        ("7f3kd93jfk39dkfj39dkf93kdf93", "looks like a key"),
        ("Zx81Kq0pLmN3vB7tYw5rE2sD9fGhJ4k", "looks like a key"),
    ],
)
def test_what_is_no_name_of_a_model_is_refused_and_not_repeated(name: str, said: str) -> None:
    error = refused(LEAST.replace("model: m", f"model: {name}"))

    assert said in error.message
    assert name not in error.message
    assert error.details["problems"][0]["line"] == 4


@pytest.mark.parametrize(
    "name",
    [
        "Meta-Llama-3.1-405B-Instruct-FP8",
        "Qwen/Qwen3-Coder-480B-A35B-Instruct",
        "hf.co/unsloth/Qwen3-30B-A3B-GGUF:Q4_K_M",
        "claude-opus-4-1-20250805",
        "meta/llama-2-70b:02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        "DeepSeekCoderInstruct",
    ],
)
def test_names_of_models_are_taken_however_odd(name: str) -> None:
    assert read(LEAST.replace("model: m", f"model: {name}")).providers[0].tiers[Tier.LOW].name == name
