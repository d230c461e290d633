"""Turned on by the standard variables, and harmless: without the SDK, without a collector, and when it is off."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from tests.support.workspace import REPOSITORY
from wvo_mcp.app import telemetry_for
from wvo_mcp.domain.lease import Caller
from wvo_mcp.project import WrongSetting
from wvo_mcp.settings import load
from wvo_mcp.telemetry import setup
from wvo_mcp.telemetry.setup import Telemetry, begin

pytestmark = pytest.mark.requirement("OBS-1")

ANN = Caller("ann", "s1")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def begun(folder: Path) -> Telemetry:
    telemetry = begin(folder, "mcp", "test")
    assert telemetry is not None
    return telemetry


def calls(telemetry: Telemetry, number: int = 1) -> float:
    """Seconds that so many calls took."""
    started = time.perf_counter()
    for _ in range(number):
        with telemetry.tracer.call("plan_next", ANN, {}):
            pass
    return time.perf_counter() - started


def spans(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1 minute"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match=f"{name}=.*allowed: "):
        begin(tmp_path, "mcp", "test")


@pytest.mark.anyio
async def test_without_the_sdk_the_start_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", str(tmp_path))
    monkeypatch.setenv("OTEL_ENABLED", "1")
    monkeypatch.setitem(sys.modules, "wvo_mcp.telemetry.setup", None)
    with pytest.raises(WrongSetting, match=r"^OTEL_ENABLED: .*wvo-mcp\[otel\]"):
        async with telemetry_for(load(), "cli", "test"):
            pass


def test_the_standard_switches_are_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert begin(tmp_path, "mcp", "test") is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "planner")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    telemetry = begun(tmp_path / "sampled")
    calls(telemetry, 3)
    telemetry.end()
    assert not (tmp_path / "sampled" / "traces.jsonl").exists()
    lines = [json.loads(line) for line in (tmp_path / "sampled" / "metrics.jsonl").read_text().splitlines()]
    (duration,) = [line for line in lines if line["name"] == "mcp.server.operation.duration"]
    assert duration["count"] == 3 and duration["resource"]["service.name"] == "planner"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    telemetry = begun(tmp_path / "spans")
    calls(telemetry)
    telemetry.end()
    assert len(spans(tmp_path / "spans")) == 1 and not (tmp_path / "spans" / "metrics.jsonl").exists()


def test_a_trace_that_is_not_sampled_stays_so(tmp_path: Path) -> None:
    telemetry = begun(tmp_path)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for carrier in (
        {"traceparent": f"00-{trace}-00f067aa0ba902b7-00"},
        {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": "a=b"},
        {"traceparent": "nonsense", "tracestate": 7},
        {"traceparent": 12},
        None,
    ):
        with telemetry.tracer.request({}, carrier):
            calls(telemetry)
    telemetry.end()
    shown = spans(tmp_path)
    assert [span["parent_span_id"] for span in shown] == ["00f067aa0ba902b7", None, None, None]
    assert shown[0]["trace_id"] == trace


@pytest.fixture(scope="session")
def silent_collector() -> Generator[int]:
    """The port of one that lets others connect and never answers; whoever waits there may do so until the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("dead", ["refuses", "hangs"])
def test_a_dead_collector_slows_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    silent_collector: int,
    dead: str,
) -> None:
    port = silent_collector if dead == "hangs" else 9
    monkeypatch.setattr(setup, "END_SECONDS", 1.5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
    telemetry = begun(tmp_path)
    # Whoever waits for the collector waits for 200 seconds.
    assert calls(telemetry, 5_000) < 100
    started = time.perf_counter()
    telemetry.end()
    assert time.perf_counter() - started < 100
    assert len(caplog.records) <= 2  # once for spans, once for metrics
    eventually((tmp_path / "traces.jsonl").exists)


def test_a_folder_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    telemetry = begun(tmp_path / "file")
    for _ in range(3):
        calls(telemetry, 600)  # a batch each
    telemetry.end()
    said = [text for record in caplog.records if "File exists" in (text := record.getMessage())]
    assert sorted(text.partition("exporting ")[2].partition(":")[0] for text in said) == ["Span", "metrics"]


def test_what_is_not_asked_for_is_not_imported(tmp_path: Path) -> None:
    program = """
import anyio, sys
import wvo_mcp.app as app
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.sdk import build_server
from wvo_mcp.operations import ALL
from wvo_mcp.ports import WatchedStore
from wvo_mcp.settings import load

async def main():
    settings = load()
    async with app.opened(settings) as services:
        caller = app.cli_caller(settings)
        assert build_server(Face(services, lambda client: caller, None, lambda: None)).middleware == []
        await ALL["plan_next"](services, caller, {})
        assert type(services.get(WatchedStore)).__module__ == "wvo_mcp.store.sqlite.store"

anyio.run(main)
unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "wvo_mcp.telemetry")
unwanted += ("wvo_mcp.domain.imports", "wvo_mcp.orchestration.outlook", "wvo_mcp.execution.alerting")
print([name for name in sys.modules if name.startswith(unwanted)])
"""
    environ = {"PATH": os.environ["PATH"], "ROOT": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert not (tmp_path / "state" / "telemetry").exists()
