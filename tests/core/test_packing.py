"""How many runs a job carries out, and what such a job asks for: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._runners.scheduler.packing import MOST, Packer, jobs_for, together
from multirun_core._runners.scheduler.submission import Demand
from multirun_core.errors import UsageError

from multirun_core import Resources


def auto(*durations: float, seconds: float = 600) -> Packer:
    packer = Packer("auto", seconds)
    for duration in durations:
        packer.add(duration)
    return packer


@pytest.mark.parametrize(
    ("pack", "seconds", "words"),
    [
        ("some", 600, "pack is 'some'; it must be a number of runs, or 'auto'"),
        (0, 600, "pack is 0"),
        (True, 600, "pack is True"),
        ("auto", 0, "pack_seconds is 0; it must be over 0"),
    ],
)
def test_what_makes_no_sense_is_refused(pack: int, seconds: float, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Packer(pack, seconds)
    assert words in str(caught.value)


def test_a_number_holds_from_the_start() -> None:
    packer = Packer(50, 600)
    assert packer.plan(parallel=4, out=0, longest=0) == (50, None)
    packer.add(1000)
    assert packer.plan(parallel=4, out=99, longest=9999) == (50, None)
    assert (packer.most, packer.least) == (50, 50)
    assert Packer(10 * MOST, 600).plan(parallel=1, out=0, longest=0) == (MOST, None)


def test_a_few_runs_go_out_alone_until_their_durations_are_known() -> None:
    packer = auto()
    assert (packer.most, packer.least) == (MOST, 1)
    assert packer.plan(parallel=4, out=0, longest=0) == (1, 20)
    packer.sent(12)
    assert packer.plan(parallel=4, out=12, longest=0) == (1, 8)
    packer.sent(8)
    assert packer.plan(parallel=4, out=20, longest=599) == (0, 0)  # nothing more until then
    for _ in range(4):
        packer.add(2)
    assert packer.plan(parallel=4, out=16, longest=3) == (0, 0)
    packer.add(2)
    assert packer.plan(parallel=4, out=15, longest=3)[0] > 1


@pytest.mark.parametrize(("out", "longest"), [(20, 600), (0, 0)])
def test_where_runs_take_as_long_as_a_job_should_or_all_fail_none_are_packed(
    out: int, longest: float
) -> None:
    packer = auto()
    packer.sent(20)
    assert packer.plan(parallel=4, out=out, longest=longest) == (1, None)


@pytest.mark.parametrize(
    ("duration", "parallel", "size"),
    [(100, 4, 24), (100, 1, 6), (599, 1, 1), (10_000, 4, 1), (0, 1, MOST), (0.5, 1, MOST)],
)
def test_a_job_is_to_take_so_long(duration: float, parallel: int, size: int) -> None:
    packer = auto(*[duration] * 5)
    assert packer.plan(parallel=parallel, out=0, longest=0) == (size, None)


def test_the_time_of_a_job_is_that_of_its_waves_and_some() -> None:
    packer = Packer(50, 600)
    assert packer.time(60, 13, None) == 60 * 13 * 1.2 + 60
    assert packer.time(60, 13, 600) == 600
    assert packer.time(60, 13, 30) == 60  # no less than for one run


def test_the_time_of_a_job_goes_by_durations_where_they_are_known() -> None:
    hour = 3600.0
    assert auto().time(hour, 250, None) == hour * 250 * 1.2 + 60
    asked = auto(*[1.0] * 5).time(hour, 250, None)
    assert asked == (hour + 4 * 250) * 1.2 + 60
    assert auto(*[hour] * 5).time(hour, 2, None) == hour * 2 * 1.2 + 60
    fixed = Packer(50, 600)
    for _ in range(5):
        fixed.add(1)
    assert fixed.time(hour, 250, None) == hour * 250 * 1.2 + 60


@given(
    st.lists(st.floats(0, 1e5), max_size=9),
    st.floats(1, 1e5),
    st.integers(1, MOST),
    st.none() | st.floats(1, 1e7),
)
def test_a_job_asks_for_the_time_of_one_run_at_least(
    durations: list[float], one: float, waves: int, longest: float | None
) -> None:
    asked = auto(*durations).time(one, waves, longest)
    assert one <= asked <= one * waves * 1.2 + 60
    assert longest is None or asked <= max(one, longest)


def test_runs_that_go_on_together_need_what_each_needs() -> None:
    assert together(Resources(), 4) == Resources(cpus=4)
    assert together(Resources(cpus=2, memory_bytes=10, gpus=1), 3) == Resources(
        cpus=6, memory_bytes=30, gpus=3
    )


def test_runs_that_are_alike_share_jobs_unless_they_go_alone() -> None:
    small, large = Demand(options=["small"]), Demand(options=["large"])
    assert jobs_for([], 4) == 0
    assert jobs_for([small] * 5, 4) == 2
    assert jobs_for([small, large] * 4, 4) == 2
    assert jobs_for([Demand(alone=True)] * 5 + [small] * 4, 4) == 6
