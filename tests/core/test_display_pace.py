from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._display.pace import Pace, duration_text, outlook, rate_text, summarise
from multirun_core._model.status import RunStatistics


def state(success: int = 0, total: int = 100, failure: int = 0, skipped: int = 0) -> RunStatistics:
    rest = total - success - failure - skipped
    return RunStatistics.of(
        {"success": success, "failure": failure, "skipped": skipped, "pending": rest}
    )


def test_nothing_is_claimed_before_a_run_has_ended() -> None:
    pace = Pace()
    assert pace.rate is None
    assert pace.seconds_left is None
    pace.update(0.0, state())
    pace.update(10.0, state())
    assert pace.rate is None
    assert outlook(pace) == []


def test_rate_and_time_left() -> None:
    pace = Pace()
    pace.update(0.0, state())
    pace.update(10.0, state(15, failure=5))
    assert pace.rate == pytest.approx(2.0)
    assert pace.seconds_left == pytest.approx(40.0)


def test_what_was_complete_before_a_resume_does_not_count() -> None:
    pace = Pace()
    pace.update(100.0, state(9000, 10000, failure=500))
    pace.update(110.0, state(9010, 10000, failure=500))
    assert pace.rate == pytest.approx(1.0)
    assert pace.seconds_left == pytest.approx(490.0)


def test_skipped_runs_took_no_time() -> None:
    pace = Pace()
    pace.update(0.0, state())
    pace.update(10.0, state(10, skipped=60))
    assert pace.rate == pytest.approx(1.0)
    assert pace.seconds_left == pytest.approx(30.0)


def test_rate_follows_runs_that_grow_longer() -> None:
    pace = Pace()
    for second in range(1001):
        pace.update(float(second), state(10 * second, 100_000))
    for second in range(1001, 2001):
        pace.update(float(second), state(10_000 + second - 1000, 100_000))
    assert pace.rate == pytest.approx(1.0, rel=0.05)


def test_rate_of_few_long_runs_looks_far_back() -> None:
    pace = Pace()
    for hour in range(20):
        pace.update(hour * 3600.0, state(hour))
    assert pace.rate == pytest.approx(1 / 3600)


def test_rate_falls_while_nothing_ends() -> None:
    pace = Pace()
    pace.update(0.0, state())
    pace.update(10.0, state(10))
    pace.update(100.0, state(10))
    assert pace.rate == pytest.approx(0.1)


def test_nothing_is_left_at_the_end() -> None:
    pace = Pace()
    pace.update(0.0, state())
    pace.update(10.0, state(100))
    assert pace.seconds_left is None
    assert outlook(pace) == ["10/s"]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000), st.integers(0, 10)), max_size=60)
)
def test_no_history_leads_to_nonsense(steps: list[tuple[float, int, int]]) -> None:
    pace, now, done = Pace(), 0.0, 0
    for seconds, ended, failed in steps:
        now, done = now + seconds, done + ended
        pace.update(now, state(done, 100_000, failure=failed))
        assert pace.rate is None or pace.rate > 0
        assert pace.seconds_left is None or pace.seconds_left >= 0
        outlook(pace)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(250.0, "250/s"), (12.34, "12/s"), (61 / 60, "61/min"), (2.5 / 60, "2.5/min"),
     (3.2 / 3600, "3.2/h"), (0.4 / 3600, "0.4/h"), (9.9, "594/min")],
)  # fmt: skip
def test_rates_are_said_in_a_handy_unit(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.008, "8 ms"), (0.9999, "1.0 s"), (2.34, "2.3 s"), (9.96, "10 s"),
     (42.4, "42 s"), (99.4, "99 s"), (99.5, "2 min"), (31 * 60, "31 min"), (5999, "1 h 40 min"),
     (5 * 3600 + 20 * 60, "5 h 20 min"), (7200, "2 h"), (76 * 3600, "3 d 4 h"),
     (48 * 3600, "2 d"), (-1.0, "0 ms")],
)  # fmt: skip
def test_durations_are_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_summary_leaves_out_what_there_is_none_of() -> None:
    assert summarise(RunStatistics()) == "0/0 done"
    counts = {"success": 116, "failure": 2, "skipped": 2, "running": 4, "pending": 1876}
    assert summarise(RunStatistics.of(counts)) == "120/2000 done, 2 failed, 2 skipped, 4 running"  # type: ignore[arg-type]
