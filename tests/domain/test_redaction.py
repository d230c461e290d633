"""Secrets go, everything else stays, and no text takes long."""

import base64
import json
import random
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.support.scale import FULL
from tests.support.timing import least_seconds
from wvo_mcp.domain.redaction import REDACTED, redact, redacted

pytestmark = pytest.mark.requirement("SAFE-3")

_ALNUM = string.ascii_letters + string.digits
_CHANCE = random.Random(None if FULL else 20261121)
"""The same keys in every run, and new ones with the full size."""


def _hex(length: int) -> str:
    """Of so many bytes."""
    return _CHANCE.randbytes(length).hex()


def _random(length: int, alphabet: str = _ALNUM) -> str:
    """With a small letter, a capital and a digit in it, as every real one of that length has."""
    body = "".join(_CHANCE.choice(alphabet) for _ in range(length - 3))
    return body + "".join(_CHANCE.choice([c for c in kind if c in alphabet] or alphabet) for kind in _KINDS)


_KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


def _jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "Ann", "iat": 1516239022})
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, _random(43, _ALNUM + "-_")])


def _pem(kind: str) -> str:
    lines = "\n".join(_random(64, _ALNUM + "+/") for _ in range(12))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n{_random(30)}==\n-----END {kind}PRIVATE KEY-----"


# Made in each run, so that no text in this repository looks like a leaked key.
KEYS = {
    "anthropic": "sk-ant-api03-" + _random(93, _ALNUM + "-_") + "AA",
    "anthropic-oauth": "sk-ant-oat01-" + _random(90, _ALNUM + "-_"),
    "openai": "sk-" + _random(48),
    "openai-project": "sk-proj-" + _random(120, _ALNUM + "-_"),
    "openrouter": "sk-or-v1-" + _hex(32),
    "google": "AIza" + _random(35, _ALNUM + "-_"),
    "google-oauth": "ya29." + _random(60, _ALNUM + "-_"),
    "github": "ghp_" + _random(36),
    "github-app": "ghs_" + _random(36),
    "github-fine": "github_pat_" + _random(22) + "_" + _random(59),
    "gitlab": "glpat-" + _random(20, _ALNUM + "-_"),
    "aws-id": "AKIA" + _random(16, string.ascii_uppercase + string.digits),
    "slack-bot": f"xoxb-{_random(12, string.digits)}-{_random(12, string.digits)}-{_random(24)}",
    "slack-hook": "https://hooks.slack.com/services/T" + _random(8) + "/B" + _random(8) + "/" + _random(24),
    "stripe": "sk_live_" + _random(24),
    "hugging-face": "hf_" + _random(34),
    "npm": "npm_" + _random(36),
    "vault": "hvs." + _random(24),
    "openai-like": "sk-" + _hex(16),
    "google-client": "GOCSPX-" + _random(28, _ALNUM + "-_"),
    "google-refresh": "1//0" + _random(60, _ALNUM + "-_"),
    "gitlab-deploy": "gldt-" + _random(20, _ALNUM + "-_"),
    "grafana": "glsa_" + _random(32) + "_" + _hex(4),
    "sendgrid": "SG." + _random(22) + "." + _random(43, _ALNUM + "-_"),
    "twilio": "SK" + _hex(16),
    "databricks": "dapi" + _hex(16),
    "airtable": "pat" + _random(14) + "." + _hex(32),
    "shopify": "shpat_" + _hex(16),
    "square": "sq0atp-" + _random(22, _ALNUM + "-_"),
    "age": "AGE-SECRET-KEY-1" + _random(58, string.ascii_uppercase + string.digits),
    "fly": "fm2_" + _random(120, _ALNUM + "+/"),
    "doppler": "dp.pt." + _random(43),
    "notion": "secret_" + _random(43),
    "terraform": ".atlasv1." + _random(67),
    "telegram": "12345678:AA" + _random(33, _ALNUM + "-_"),
    "discord-hook": "https://discord.com/api/webhooks/123456789012345678/" + _random(68, _ALNUM + "-_"),
    "azure-sas": "https://a.example/c?sv=2022&sig=" + _random(43) + "%3D",
    "mailgun": "key-" + _hex(16),
    "mailgun-new": f"{_hex(16)}-{_hex(4)}-{_hex(4)}",
    "discord-bot": f"M{_random(25)}.{_random(6)}.{_random(38, _ALNUM + '-_')}",
    "openai-service": "sk-svcacct-" + _random(120, _ALNUM + "-_"),
    "github-oauth": "gho_" + _random(36),
    "gitlab-routable": f"glpat-{_random(27, _ALNUM + '-_')}.01.{_hex(4)}",
    "google-new": "AQ.Ab" + _random(50, _ALNUM + "-_"),
    "bedrock": "ABSK" + _random(128),
    "azure-ai": f"{_random(52)}JQQJ99{_random(26)}",
    "pypi": "pypi-AgEIcHlwaS5vcmcC" + _random(120, _ALNUM + "-_"),
    "presigned": "https://b.example/k?X-Amz-Signature=" + _hex(32),
    **{
        prefix: prefix + "1" + _random(40)
        for prefix in (
            "pplx-",
            "r8_",
            "nfp_",
            "ATATT3",
            "lin_api_",
            "ntn_",
            "figd_",
            "dckr_pat_",
            "sbp_",
            "sntryu_",
            "NRAK-",
        )
    },
    **{
        prefix: prefix + "1" + _random(40)
        for prefix in ("PMAK-", "pscale_tkn_", "pul-", "rubygems_", "tskey-auth-", "doo_v1_")
    },
    "jwe": "eyJ" + _random(40) + ".." + _random(16) + "." + _random(40) + "." + _random(22),
    "jwt": _jwt(),
    "rsa": _pem("RSA "),
    "pkcs8": _pem(""),
    "openssh": _pem("OPENSSH "),
}

ASSIGNED = [
    "password={}",
    "PGPASSWORD={} psql",
    'password: "{}"',
    "DB_PASSWORD='{}'",
    '{{"password": "{}"}}',
    r"{{\"password\": \"{}\"}}",
    "client_secret={}&grant_type=x",
    "AWS_SECRET_ACCESS_KEY={}",
    "aws_secret_access_key = {}",
    "api_key: {}",
    "apiKey => '{}'",
    "X-Api-Key: {}",
    "GITHUB_TOKEN={}",
    "token: {}",
    "?access_token={}&x=1",
    "Authorization: Bearer {}",
    "authorization=Basic {}",
    "Authorization: {}",
    "Authorization: Bot {}",
    "tool --api-key {}",
    "<client_secret>{}</client_secret>",
    'const apiKey: string = "{}";',
    'let token: &str = "{}";',
    r"{{\\\"password\\\": \\\"{}\\\"}}",
    "https://x.example/?key={}&b=1",
    "  client-key-data: {}",
    "'Authorization': 'token {}'",
    "curl -H 'bearer {}'",
    "postgresql://wvo:{}@db.example:5432/wvo",
    "https://x:{}@git.example/repo.git",
    "redis://:{}@cache",
    r"https:\/\/x:{}@git.example\/repo.git",
    "Server=tcp:db,1433;User ID=wvo;Password={};Encrypt=True",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.example",
    "Endpoint=sb://a.example/;SharedAccessKeyName=Root;SharedAccessKey={}",
]

INNOCENT = [
    "cache_key=tasks/ready/v2-of-2026", "primary_key='user_id'", "idempotency_key: create-order-1", '"auth": "none"',
    "login me and the password dialog opens 12 times", "sort_key=created_at_2026_11_21_desc",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 of release-2026.11.21",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "lease_token=12345678, lease_token: 7, {'lease_token': 9007199254740993}",
    '{"lease_token":3,"token":4611686018427387904,"max_tokens":2000}',
    "max_tokens=200000 total_tokens: 1234567890123456789 tokens=1_000_000",
    "task-lock-the-database-before-2026-and-run; disk-usage-of-the-last-30-days; sk-eleton of a page",
    "550e8400-e29b-41d4-a716-446655440000",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "/srv/wvo/state/backups/db/2026-11-21T10.db, src/token/password.py:120",
    "password: must have eight characters; the password is asked for; token: the lease token of the claim",
    "def login(password: str, token: str | None = None) -> None: self.password = password",
    "connect(password=settings.password, token=self.token, api_key=os.environ['API_KEY'])",
    "password=${DB_PASSWORD} token=<your-token-here-1> secret={{ secret_value_1 }} api_key=$API_KEY",
    "token_expires_at: 2026-11-21T10:00:00.000Z; token: 2026-11-21T10:00:00.000Z",
    "PASSWORD_FILE=/run/secrets/password1 secret=/run/secrets/db_2",
    "connect(token=self.session_settings.token, access_token=orig.borrowed_tokens); token = read_the_token_from_disk",
    "postgresql://USER:PASSWORD@HOST:5432/DATABASE postgresql://${USER}:${PASSWORD}@h/d https://{user}:{password}@h",
    "wvo-mcp run --token TOKEN --password-file ./password --secret <secret>; docker run -u 1000:1000 -u root:root app",
    "?key=user-profile&sort=1 ?sig=none </password> <token>next</token> cookie: yes, SKU-12345, SG.1, glossary-of-terms-2026",
    "patterns-of-use.md dp.pt. r8_1 pul-request-template-for-new-people secret_santa_list_of_the_whole_company_2026",
    "password: str = field(); def f(password: str = None, token: str = '') -> str: ...",
    "the bearer of bad news; Authorization: only people may approve; Authorization: required",
    "http://localhost:8080/path?at=12:30@home see https://example.org/@ann ssh://git@example.org:22/x",
    "-----BEGIN PRIVATE KEY----- is how such a file begins, -----BEGIN CERTIFICATE----- another",
    "key: value, primary_key=17, cache_key=user:17:profile:v2, sort keys: id, name",
    "AKIA, AIza and ghp_ are prefixes; eyJhIjoxfQ is {'a':1}",
    "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40).decode(),
    "uv.lock: sha256-" + base64.b64encode(bytes(range(32))).decode(),
    "integrity=sha512-" + base64.b64encode(bytes(range(64))).decode(),
    "cache-key-d41d8cd98f00b204e9800998ecf8427e, 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "http://localhost:8080/@scope/name and npm:left-pad@1.3.0, MNOPQRSTUVWXYZ.md.example, T-20261121-0001.a.b",
    "oci://images.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "12345:67890@", "mail ann@example.org: hello", "a://b", "", "=:=:password", "token=", "secret:\n",
]  # fmt: skip


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("around", ["{}", "use {} now", '{{"x":"{}"}}', r"first\n{}\nlast", "x={},", "({})", "ä{}ö"])
def test_keys_are_known_by_their_shape(kind: str, around: str) -> None:
    key = KEYS[kind]
    shown = redact(around.format(key))
    assert REDACTED in shown
    assert key[-8:] not in shown and key[-20:-8] not in shown
    head, tail = around.format("|").split("|")
    assert shown.startswith(head) and shown.endswith(tail)


@pytest.mark.parametrize("around", ASSIGNED)
@pytest.mark.parametrize("secret", [KEYS["github"], _random(24), _random(40, _ALNUM + "+/"), _hex(20)], ids=len)
def test_whatever_stands_behind_the_name_of_a_secret_goes(around: str, secret: str) -> None:
    if "://" in around or ":\\/" in around:
        secret = secret.replace("/", "+")
    shown = redact(around.format(secret))
    assert shown == around.format(REDACTED)


@pytest.mark.parametrize("password", ["hunter2", "Tr0ub4dor&3", "swordfish", "12345678", "pa:ss@word"])
def test_passwords_of_people_are_short_and_go_too(password: str) -> None:
    assert password[-4:] not in redact(f"mysql://root:{password}@db/x")
    assert password[-4:] not in redact(f"mysql://root:a/{password}@db/x and http://h:80/p@q")
    if "&" not in password:
        assert password not in redact(f"--password={password}")
    assert redacted({"password": password}) == {"password": REDACTED}


@pytest.mark.parametrize(
    "text",
    [
        'password="correct horse battery"', "PASSWORD='hunter22&(k z9 q!'", "mysql --password hunter-22 -h db",
        "DB_PASS=hunter22",
        "curl -u admin:hunter22 https://x.example", "<password>hunter22</password>", '{"password":"hunter22; k z9"}',
        "Cookie: a=hunter22; b=q!k z9", "Set-Cookie: sid=hunter22; Path=/",
        "https://hunter22hunter22hunter22@git.example/a",
    ],
)  # fmt: skip
def test_nothing_is_left_of_what_is_in_quotes_or_in_a_cookie(text: str) -> None:
    shown = redact(text)
    assert REDACTED in shown and not any(part in shown for part in ("correct", "battery", "hunter", "22", "k z9 q"))


@pytest.mark.parametrize("prefix", ["> ", "# ", "    ", '"', "+ "])
def test_a_key_is_known_however_its_lines_are_quoted(prefix: str) -> None:
    lines = KEYS["rsa"].splitlines()
    shown = redact("\n".join(prefix + line for line in lines))
    assert REDACTED in shown and not any(line[8:] in shown for line in lines[1:-1])


def test_a_key_in_json_in_json_is_known() -> None:
    account = json.dumps({"type": "service_account", "private_key": KEYS["pkcs8"] + "\n"})
    shown = redact(json.dumps({"summary": f"found {account}"}), shapes_only=True)
    assert json.loads(json.loads(shown)["summary"].removeprefix("found "))["private_key"] == REDACTED + "\n"


@pytest.mark.parametrize("text", INNOCENT)
def test_everything_else_stays(text: str) -> None:
    assert redact(text) == text
    assert redacted({"title": text}) == {"title": text}


def test_values_are_redacted_in_depth_and_by_their_names() -> None:
    value = {
        "headers": {"Authorization": "Negotiate abc", "Cookie": "sid=1", "X-Api-Key": "k3y-of-16-letters"},
        "list": [KEYS["openai"], {"client_secret": "abcdefgh1"}, 7, None, True, 1.5],
        "lease_token": 12,
        "token": "in_progress",
        KEYS["github"]: "as a key",
    }
    assert redacted(value) == {
        "headers": {"Authorization": REDACTED, "Cookie": REDACTED, "X-Api-Key": REDACTED},
        "list": [REDACTED, {"client_secret": REDACTED}, 7, None, True, 1.5],
        "lease_token": 12,
        "token": "in_progress",
        REDACTED: "as a key",
    }


@pytest.mark.parametrize("kind", KEYS)
def test_json_with_keys_in_it_stays_json(kind: str) -> None:
    value = {"summary": f"pushed with {KEYS[kind]}\nand 'done'", "password": 12345678, "n": [1, "password=hunter2"]}
    shown = json.loads(redact(json.dumps(value), shapes_only=True))
    assert REDACTED in shown["summary"] and KEYS[kind][-8:] not in shown["summary"]
    assert shown["summary"].startswith("pushed with ") and shown["summary"].endswith("\nand 'done'")
    assert {**shown, "summary": ""} == {**value, "summary": ""}  # by their names alone nothing is taken for a secret


_pieces = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from([*KEYS.values(), *INNOCENT, *(around.format("s3cr3t-s3cr3t-s3cr3t") for around in ASSIGNED)]),
    ),
    max_size=6,
).map(" ".join)


@given(_pieces)
@example("password=x[redacted] token: [redacted]")
def test_to_redact_twice_is_to_redact_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert not any(key in once for key in KEYS.values())


def _in_json(text: str) -> str:
    return json.dumps({"note": text, "n": 1})


def _in_address(text: str) -> str:
    return f"https://example.org/hook?x=1&state={quote(text, safe='')}&y=2"


_WRAPPINGS: tuple[Callable[[str], str], ...] = (
    _in_json,
    lambda text: json.dumps([text], ensure_ascii=False, indent=1),
    lambda text: f"first line\n    {text}\nlast line",
    _in_address,
    lambda text: f"curl -H 'X-Thing: {text}' https://example.org/",
    lambda text: repr({"note": text}),
    lambda text: text.replace("/", "\\/"),
)
_PLAIN = sorted(kind for kind, key in KEYS.items() if quote(key, safe="") == key)
"""Those that look the same in an address."""


@given(st.sampled_from(_PLAIN), st.lists(st.sampled_from(_WRAPPINGS), max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_key_is_known_in_whatever_it_is_wrapped(kind: str, wrappings: list[Callable[[str], str]]) -> None:
    key = text = KEYS[kind]
    assume(wrappings.count(_in_address) < 3)  # an address in an address in an address is nobody's
    for wrap in wrappings:
        text = wrap(text)
    shown = redact(text)
    assert REDACTED in shown and key not in shown and key[-12:] not in shown
    if wrappings and wrappings[-1] is _in_json:
        assert json.loads(redact(text, shapes_only=True))["n"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "export OPENAI_KEY={}", '{{"mistral_key": "{}"}}', "machine api.example\n  login me password {}",
        '{{"auths": {{"x": {{"auth": "{}"}}}}}}', "v1.0-" + "0f" * 10 + "-" + "{}" + "e" * 110,
    ],
)  # fmt: skip
def test_keys_in_the_files_of_programs_are_known(text: str) -> None:
    key = "0f" * 20 if text.startswith("v1") else "bKTK0FWkNnYY1jPsbKTK0FWk"
    shown = redact(text.format(key))
    assert REDACTED in shown and key not in shown
    assert shown.startswith(text.split("{}")[0].replace("{{", "{")) or text.startswith("v1")


@pytest.mark.parametrize("kind", _PLAIN)
def test_a_key_is_known_behind_what_is_escaped_before_it(kind: str) -> None:
    for before in ("\\n", "%20", "%0A", "%2520", "%22", " ", "(", "=", ":"):
        shown = redact(f"x{before}{KEYS[kind]}")
        assert shown.startswith(f"x{before}") and REDACTED in shown and KEYS[kind][-12:] not in shown, before


HOSTILE = [
    "eyJ", "eyJabcdefgh.", "sk-", "sk-ant-a", "://", "://a:", "://a:b@", "a" * 1000 + "://", "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\n", "A" * 64 + "\n", "password", "password=", "password: ", "token=aaaa ", "secret:'",
    "api_key=" + "a" * 3 + "\n", "bearer ", "bearer a", "authorization: ", "authorization:basic ", "xoxb-", "ghp_", "AKIA",
    "AIza", "hf_", "hf_a", "\\n", " \t", "=", "a", "ab1", "hooks.slack.com/services/", "Proc-Type: x\n", "github_pat_",
    'password="aaaa ', "password: str =", "cookie: a=bcde;", "cookie:", "--a-", "--a-a-", "--token ", "<a-token>", " -u a:",
    "?key=a", "login a password ", '"auth": "aa', "a_key=", "_key=aB1", "v1.0-0",
    "<password>aaaa</", "SG.aaaaaaaaaaaaaaaaaaaa.", "://aaaa1", "eyJabcdefgh..", '-----BEGIN PRIVATE KEY-----\\"',
    "12345678:AA", "1Q~", "://a:b/", "a" * 32 + "-", "M" * 27 + ".", "0" * 32 + "-11111111-", ":\\/\\/a:", "key-0", "JQQJ99a",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    """Of what a megabyte costs, ten times as much as a tenth of it would be linear; a hundred times, quadratic."""
    marks = (
        "password token secret authorization bearer eyJ PRIVATE KEY :// cookie: -- </ -u = "  # so that every rule looks
    )

    def text(length: int) -> str:
        return marks + piece * (length // len(piece))

    small, large = text(30_000), text(300_000)
    limit = 30 * max(least_seconds(lambda: redact(small)), 0.0005)
    assert least_seconds(lambda: redact(large), limit) < limit


def test_a_megabyte_takes_a_fraction_of_a_second() -> None:
    prose = "The token of the claim is 12; see https://example.org/a and 9fceb02d0ae598e95dc970b74767f19372d61af8.\n"
    text = prose * (1_000_000 // len(prose)) + KEYS["anthropic"]
    assert redact(text) == text.replace(KEYS["anthropic"], REDACTED)
    assert least_seconds(lambda: redact(text), 0.5) < 0.5
