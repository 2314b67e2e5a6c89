"""Sizes of memory as text, what a run's needs are made of, and the variables that follow."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._model.resources import (
    gpu_variables,
    needs_of,
    parse_size,
    size_text,
    thread_variables,
    to_resources,
)

from multirun_core import ParamError, Resources, UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("100B", 100),
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        ("2G", 2 << 30),
        ("2g", 2 << 30),
        ("2GB", 2_000_000_000),
        ("1.5GiB", 3 << 29),
        (".5K", 512),
        ("0.1MB", 100_000),
        (" 3 TiB ", 3 << 40),
        ("1PiB", 1 << 50),
        ("7E", 7 << 60),
        (12345, 12345),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "0GiB", "-1", "-1GiB", "GiB", "1 XB", "1iB", "1e9", "1,5GiB", "9E", "٣GiB", "1 2",
     "1GiB2", "nan", "inf", "9" * 5000, "0." + "0" * 19 + "1", 0, -5, True, 1.5, None, 1 << 63,
     b"1"],
)  # fmt: skip
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(UsageError, match="no size of memory"):
        parse_size(text)


@given(st.integers(1, (1 << 63) - 1))
def test_every_number_of_bytes_is_itself(size: int) -> None:
    assert parse_size(size) == parse_size(str(size)) == parse_size(f" {size} b ") == size


@given(st.integers(1, 1023), st.sampled_from("KMGTP"), st.sampled_from(["", "i", "iB", "IB"]))
def test_powers_of_1024(number: int, letter: str, rest: str) -> None:
    power = 1024 ** ("KMGTP".index(letter) + 1)
    assert parse_size(f"{number}{letter}{rest}") == number * power
    assert parse_size(f"{number}{letter.lower()}{rest}") == number * power
    assert parse_size(f"{number}{letter}B") == number * 1000 ** ("KMGTP".index(letter) + 1)


@given(st.text() | st.text("0123456789.kKmMgGbBiI \n"))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    size = None
    with contextlib.suppress(UsageError):
        size = parse_size(text)
    assert size is None or 0 < size < 1 << 63


@given(st.integers(1, 1 << 60))
def test_sizes_for_people_are_read_back(size: int) -> None:
    assert parse_size(size_text(size).replace("bytes", "B")) == pytest.approx(size, rel=1e-3)


def test_needs() -> None:
    assert to_resources({}) == Resources()
    given = {"cpus": 2, "memory": "4GiB", "gpus": 0}
    assert to_resources(given) == Resources(cpus=2, memory_bytes=4 << 30, gpus=0)
    default = Resources(cpus=1, memory_bytes=5, gpus=1)
    assert Resources(gpus=0).over(default) == Resources(cpus=1, memory_bytes=5, gpus=0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "must be a mapping"),
        ([("cpus", 1)], "must be a mapping"),
        ({"cpu": 1}, "'cpu' is no resource; write cpus, memory or gpus"),
        ({"cpus": 0}, "cpus is 0; it must be a whole number, 1 or more"),
        ({"cpus": 1.5}, "cpus is 1.5"),
        ({"cpus": True}, "cpus is True"),
        ({"gpus": -1}, "gpus is -1; it must be a whole number, 0 or more"),
        ({"memory": "much"}, "'much' is no size of memory"),
    ],
)
def test_needs_that_make_no_sense_name_the_run(returned: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        needs_of(lambda params: returned, 7, {"mass": 1})
    assert str(caught.value).startswith("run 7: resources({'mass': 1}): ")
    assert message in str(caught.value)


def test_a_function_that_fails_names_the_run_and_the_error() -> None:
    with pytest.raises(ParamError, match=r"run 3: resources\({}\): KeyError: 'size'"):
        needs_of(lambda params: {"cpus": params["size"]}, 3, {})


def test_variables_for_threads() -> None:
    variables = thread_variables(3)
    assert set(variables.values()) == {"3"}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS",
            "JULIA_NUM_THREADS", "GOMAXPROCS"} <= set(variables)  # fmt: skip


def test_variables_for_devices() -> None:
    numbers = gpu_variables(["2", "10"])
    assert numbers["CUDA_VISIBLE_DEVICES"] == numbers["HIP_VISIBLE_DEVICES"] == "2,10"
    assert numbers["ZE_AFFINITY_MASK"] == "2,10"
    assert numbers["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "ROCR_VISIBLE_DEVICES" not in numbers  # HIP would count again within what it leaves
    names = gpu_variables(["GPU-8d2a", "GPU-77"])
    assert names == {
        "CUDA_VISIBLE_DEVICES": "GPU-8d2a,GPU-77",
        "ROCR_VISIBLE_DEVICES": "GPU-8d2a,GPU-77",
        "HIP_VISIBLE_DEVICES": "0,1",
    }
    assert gpu_variables([])["CUDA_VISIBLE_DEVICES"] == "-1"
