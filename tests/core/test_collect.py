"""Results of programs that cannot post, collected at each run's end or later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multirun_core import (
    ParallelLocalRunner,
    ResultsError,
    Sweep,
    SweepLockedError,
    UsageError,
    multirun,
)

CMD = ["sh", "-c", 'test "$MULTIRUN_PARAM_N" = 2 || echo "energy = $MULTIRUN_PARAM_N.5 eV"']


def call(root: Path, **keywords: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(4)],
        cmd=CMD,
        output_path=root,
        runner=ParallelLocalRunner(max_parallel=2),
        progress=False,
        **keywords,
    )


@pytest.mark.parametrize(
    "rule",
    [
        r"re:energy = (?P<energy>\S+)",
        lambda folder: {"energy": float((folder / "stdout.txt").read_text().split()[2])},
    ],
)
def test_collecting_at_each_end(tmp_path: Path, rule: Any) -> None:
    sweep = call(tmp_path / "s", collect=rule)
    assert sweep.statistics.success_count == 4
    for one in (sweep, Sweep.open(tmp_path / "s")):
        assert [one.results[index]["energy"] for index in (0, 1, 3)] == [0.5, 1.5, 3.5]
        with pytest.raises(ResultsError, match="collecting failed"):
            one.results[2]
        frame = one.to_dataframe()
        assert list(frame["energy"].dropna()) == [0.5, 1.5, 3.5]
        assert "collecting failed" in frame["result_error"][2]
        assert frame["status"][2] == "success"


def test_objects_that_are_no_json_are_collected_too(tmp_path: Path) -> None:
    sweep = call(tmp_path / "s", collect=lambda folder: {"path": folder})
    assert sweep.results[1] == {"path": sweep.runs[1].cwd}


def test_failed_runs_are_not_collected_from(tmp_path: Path) -> None:
    sweep = multirun(
        runs=[{}],
        cmd=["sh", "-c", "echo 1 > out.json; exit 3"],
        output_path=tmp_path / "s",
        collect="out.json",
        progress=False,
    )
    assert (sweep.results[0], sweep.runs[0].result_error) == (None, None)


def test_collecting_again_later(tmp_path: Path) -> None:
    call(tmp_path / "s")
    sweep = Sweep.open(tmp_path / "s")
    assert sweep.results == [None] * 4
    sweep.collect(r"re:energy = (?P<energy>\S+)")
    assert sweep.results[3] == {"energy": 3.5}
    sweep.collect(r"re:energy = (?P<number>\d+)")
    for one in (sweep, Sweep.open(tmp_path / "s")):
        assert one.results[3] == {"number": 3}
        with pytest.raises(ResultsError):
            one.results[2]
    assert call(tmp_path / "s", resume=True).results[3] == {"number": 3}


def test_nobody_collects_while_a_driver_works(tmp_path: Path) -> None:
    cmd = ["sh", "-c", "until test -e ../../go; do sleep 0.01; done; echo 1 > out.json"]
    keywords: dict[str, Any] = {"cmd": cmd, "output_path": tmp_path / "s", "progress": False}
    with multirun(runs=[{}], wait=False, **keywords) as sweep:
        with pytest.raises(SweepLockedError):
            Sweep.open(tmp_path / "s").collect("out.json")
        (tmp_path / "s" / "go").touch()
    sweep.collect("out.json")
    assert sweep.results == [1]


def test_wrong_rules_create_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="collect"):
        call(tmp_path / "s", collect="out.txt")
    assert not (tmp_path / "s").exists()
