"""The webhook against a real receiver on loopback."""

import socket
import time
from collections.abc import Generator
from datetime import UTC, datetime

import pytest

from tests.support.clock import StoppedClock
from tests.support.receiver import Answer, Receiver, is_signed, receiving, status
from wvo_mcp.domain.news import Message
from wvo_mcp.execution.alerting import Webhook
from wvo_mcp.ports.world import Undelivered

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("HEALTH-3")]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEWS = Message("news_1", {"type": "alert.raised", "data": {"message": "caf\u00e9 \u2014 \U0001f9e8"}})


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as opened:
        yield opened


def webhook(url: str, secret: str = SECRET, deadline: float = 60.0) -> Webhook:
    return Webhook(url, secret, StoppedClock(datetime(2026, 11, 20, 10, tzinfo=UTC)), deadline)


@pytest.mark.parametrize("secret", [SECRET, "a plain text of any kind"])
async def test_what_is_sent_is_signed_over_id_time_and_body(receiver: Receiver, secret: str) -> None:
    await webhook(receiver.url, secret).deliver(NEWS)

    (got,) = receiver.got
    assert got.json == NEWS.body
    assert got.headers["content-type"] == "application/json"
    assert (got.id, got.headers["webhook-timestamp"]) == ("news_1", "1795168800")
    assert is_signed(got, secret)
    assert not is_signed(got, "another secret altogether")
    got.body += b" "
    assert not is_signed(got, secret)


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the Standard Webhooks libraries.
    at = datetime.fromtimestamp(1614265330, UTC)

    signed = webhook("http://127.0.0.1").signature("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("code", [301, 307, 400, 404, 410, 429, 500, 503])
async def test_whatever_is_no_success_is_a_failure_and_no_redirect_is_followed(receiver: Receiver, code: int) -> None:
    receiver.answers.append(status(code, Location=receiver.url))

    with pytest.raises(Undelivered, match=str(code)) as raised:
        await webhook(receiver.url).deliver(NEWS)

    assert len(receiver.got) == 1
    assert "hidden" not in str(raised.value)


async def test_an_answer_counts_when_its_status_is_there_however_slow_the_rest(receiver: Receiver) -> None:
    receiver.answers.append(receiver.slow_body)
    began = time.monotonic()

    await webhook(receiver.url, deadline=150).deliver(NEWS)

    assert time.monotonic() - began < 100


async def test_a_receiver_that_says_nothing_is_left_at_the_deadline(receiver: Receiver) -> None:
    hang: Answer = receiver.hang
    receiver.answers.append(hang)

    with pytest.raises(Undelivered, match=r"no answer within 0\.3 s"):
        await webhook(receiver.url, deadline=0.3).deliver(NEWS)


async def test_a_refused_connection_and_a_wrong_name_are_failures_that_tell_no_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/hidden", "http://no-such-host.invalid/hidden"):
        with pytest.raises(Undelivered) as raised:
            await webhook(url).deliver(NEWS)
        assert "hidden" not in str(raised.value)
