"""Plugins that are told of a sweep."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from multirun_core.plugins import hookimpl

from multirun_core import Run, Sweep, UsageError, multirun


class Listener:
    """Remembers what it was told, and what was on disk by then."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.on_disk: list[str] = []

    @hookimpl
    def multirun_sweep_started(self, sweep: Sweep) -> None:
        self.told.append(f"started {sweep.statistics.pending_count}")

    @hookimpl
    def multirun_run_changed(self, sweep: Sweep, run: Run, previous: str) -> None:
        self.told.append(f"{previous} > {run.status}")
        if run.done:
            assert run.index is not None
            self.on_disk.append(Sweep.open(sweep.path).runs[run.index].status)

    @hookimpl
    def multirun_sweep_finished(self, sweep: Sweep) -> None:
        self.told.append(f"finished {sweep.statistics.complete_count}")


def sweep_of(root: Path, *observers: object, **keywords: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(3)],
        cmd=["sh", "-c", "exit $((MULTIRUN_PARAM_N == 2))"],
        output_path=root,
        observers=observers,
        **keywords,
    )


def test_observers_are_told_of_every_change_once_it_is_on_disk(tmp_path: Path) -> None:
    listener = Listener()
    sweep_of(tmp_path / "s", listener, progress=False)
    assert (listener.told[0], listener.told[-1]) == ("started 3", "finished 3")
    assert Counter(listener.told[1:-1]) == {
        "pending > running": 3,
        "running > success": 2,
        "running > failure": 1,
    }
    assert sorted(listener.on_disk) == ["failure", "success", "success"]


class Broken:
    @hookimpl
    def multirun_sweep_started(self) -> None:
        raise RuntimeError("no network")

    @hookimpl
    def multirun_run_changed(self, run: Run) -> None:
        raise RuntimeError("no network")


def test_one_that_raises_is_said_once_and_disturbs_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    sweep = sweep_of(tmp_path / "s", Broken(), listener)
    assert sweep.statistics.success_count == 2
    assert listener.told[-1] == "finished 3"
    assert capsys.readouterr().err.count("no network") == 1


class Misspelt:
    @hookimpl
    def multirun_sweep_begun(self, sweep: Sweep) -> None:
        raise AssertionError


def test_a_misspelt_hook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multirun_sweep_begun"):
        sweep_of(tmp_path / "s", Misspelt())
    assert not (tmp_path / "s").exists()
