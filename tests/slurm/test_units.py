"""Times and sizes as sbatch takes them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core.errors import UsageError
from multirun_slurm.units import mebibytes_of, minutes_of, minutes_text, parse_minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 1.5),
        ("1:30:00", 90),
        ("2-12", 60 * 60),
        ("2-12:30", 60 * 60 + 30),
        ("1-00:00:30", 1440.5),
        ("0", 0),
        ("UNLIMITED", math.inf),
        ("infinite", math.inf),
    ],
)
def test_all_forms_of_a_time(text: str, minutes: float) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize(
    "text", ["", "1h", "1:2:3:4", "-5", "-", "1-", "a-1", "1-2:3:4:5", "½", "٣"]
)
def test_what_is_no_time(text: str) -> None:
    assert parse_minutes(text) is None


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    minutes = parse_minutes(text)
    assert minutes is None or minutes >= 0


@given(st.integers(1, 60 * 24 * 400))
def test_what_is_written_is_read_as_the_same(minutes: int) -> None:
    assert parse_minutes(minutes_text(minutes)) == pytest.approx(minutes)


def test_an_option_is_rounded_up_to_minutes() -> None:
    assert minutes_of("time", 0.1) == 1
    assert minutes_of("time", 90) == 90
    assert minutes_of("time", "1:30") == 2
    assert minutes_of("time", timedelta(seconds=61)) == 2
    assert minutes_of("time", timedelta(hours=1.1)) == 66  # not 67, for 66.00000000000001


@pytest.mark.parametrize(
    "value", [0, -1, "0", "UNLIMITED", "soon", math.nan, math.inf, timedelta(0)]
)
def test_no_time_at_all_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"time is .*; it must be a time over 0"):
        minutes_of("time", value)  # type: ignore[arg-type]


def test_a_number_is_of_mebibytes_and_text_has_a_unit() -> None:
    assert mebibytes_of("mem", 500) == 500
    assert mebibytes_of("mem", "500") == 500
    assert mebibytes_of("mem", "4G") == mebibytes_of("mem", "4GiB") == 4096
    assert mebibytes_of("mem", "1") == 1
    assert mebibytes_of("mem", "1kB") == 1
    assert mebibytes_of("mem", "1.5MiB") == 2


def test_bytes_are_not_taken_for_mebibytes() -> None:
    with pytest.raises(UsageError, match="mem is 4294967296; a number means MiB here"):
        mebibytes_of("mem", 4 << 30)
    with pytest.raises(UsageError, match="mem is 0"):
        mebibytes_of("mem", 0)
    with pytest.raises(UsageError, match="mem is 'much'"):
        mebibytes_of("mem", "much")
    for size in ("1.5", 1.5, True, [4], b"4G", math.nan, "9" * 5000):
        with pytest.raises(UsageError, match=r"mem is .* no amount of memory"):
            mebibytes_of("mem", size)  # type: ignore[arg-type]
