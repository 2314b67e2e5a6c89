"""The example of an observer, against a real HTTP server."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from multirun_core import multirun

EXAMPLE = Path(__file__).parents[2] / "examples" / "observer" / "multirun_webhook.py"


@pytest.fixture
def webhook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("multirun_webhook", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """Return what a server on this machine is sent: the type and the value."""
    received: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("MULTIRUN_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
        yield received
        server.shutdown()
        thread.join()


def three(path: Path, *observers: object) -> Any:
    cmd = ["sh", "-c", "exit $((MULTIRUN_PARAM_N == 2))"]
    runs = [{"n": n} for n in range(3)]
    return multirun(runs=runs, cmd=cmd, output_path=path, observers=observers)


def test_it_posts_one_line(
    tmp_path: Path, webhook: ModuleType, posted: list[tuple[str, Any]]
) -> None:
    three(tmp_path / "a study", webhook)
    assert posted == [("application/json", {"text": "a study: 2 of 3 succeeded"})]


def test_without_an_address_it_does_nothing(
    tmp_path: Path, webhook: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    three(tmp_path / "a study", webhook)
    assert "observer" not in capsys.readouterr().err


def test_nobody_who_answers_is_one_line_and_no_harm(
    tmp_path: Path,
    webhook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MULTIRUN_WEBHOOK", "http://127.0.0.1:9/")
    sweep = three(tmp_path / "a study", webhook)
    assert sweep.statistics.complete_count == 3
    told = [line for line in capsys.readouterr().err.splitlines() if "observer" in line]
    assert len(told) == 1
    assert "multirun_sweep_finished" in told[0]
