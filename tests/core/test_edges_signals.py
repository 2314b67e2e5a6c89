"""Signals at the wrong moment, and exceptions that break into the wait."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from multirun_core._sweep import facade
from multirun_core._sweep.conduct import Conductor
from sweeps import processes_with, wait_until

from multirun_core import ParallelLocalRunner, Sweep, multirun


def sleepers(root: Path, **keywords: Any) -> Sweep:
    return multirun(
        runs=[{}] * 4,
        cmd=["sh", "-c", "touch started; sleep 300"],
        output_path=root,
        runner=ParallelLocalRunner(grace=0.2),
        progress=False,
        **keywords,
    )


def when(condition: Callable[[], Any], number: signal.Signals) -> None:
    def watch() -> None:
        wait_until(condition)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def all_started(root: Path) -> Callable[[], bool]:
    return lambda: len(list(root.glob("runs/*/started"))) == 4


@pytest.fixture
def alarm() -> Iterator[type[Exception]]:
    class AlarmError(Exception):
        pass

    def ring(_signum: int, _frame: FrameType | None) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, ring)
    yield AlarmError
    signal.signal(signal.SIGALRM, before)


def test_what_another_handler_raises_ends_the_sweep_first(
    tmp_path: Path, alarm: type[Exception]
) -> None:
    root = tmp_path / "s"
    when(all_started(root), signal.SIGALRM)
    with pytest.raises(alarm):
        sleepers(root)
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics.failure_count == 4


def test_a_signal_before_the_sweep_has_begun_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "multirun-sweep":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        sleepers(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_signal_after_the_last_run_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        end(thread, timeout)
        if thread.name == "multirun-sweep":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        multirun(runs=[{}] * 3, cmd=["true"], output_path=tmp_path / "s", progress=False)
    assert Sweep.open(tmp_path / "s").statistics.success_count == 3


def test_a_second_signal_while_the_summary_is_said_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = facade._tell

    def slow(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        tell(*arguments)

    monkeypatch.setattr(facade, "_tell", slow)
    when(all_started(tmp_path / "s"), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sleepers(tmp_path / "s")
    assert Sweep.open(tmp_path / "s").statistics.failure_count == 4


def test_after_two_signals_patience_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "_HURRY_SECONDS", 0.3)
    ended: list[bool] = []
    conduct = Conductor._drive

    async def stuck(conductor: Conductor, *arguments: Any) -> Sweep:
        try:
            return await conduct(conductor, *arguments)
        finally:
            time.sleep(1.5)
            ended.append(True)

    monkeypatch.setattr(Conductor, "_drive", stuck)
    root = tmp_path / "s"

    def press() -> None:
        wait_until(all_started(root))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        sleepers(root)
    assert not ended
    wait_until(lambda: ended)
