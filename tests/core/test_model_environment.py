from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from multirun_core._model.environment import MAX_TOTAL_BYTES, MAX_VALUE_BYTES, run_environment

ALWAYS = {"MULTIRUN_RUN_DIR": "/run dir", "MULTIRUN_INDEX": "7", "MULTIRUN_ATTEMPT": "2"}


def variables(params: dict[str, Any]) -> dict[str, str]:
    env = run_environment(params, "/run dir", 7, 2)
    assert env.items() >= ALWAYS.items()
    return {name: env[name] for name in env if name not in ALWAYS}


def omitted(params: dict[str, Any]) -> list[str]:
    found: list[str] = json.loads(variables(params).get("MULTIRUN_PARAMS_OMITTED", "[]"))
    return found


def test_values() -> None:
    hostile = "a 'b'\"$c;*\n=ü"
    params = {"mass": 1.5, "N_2": "x", "_u": None, "on": True, "l": [1, "ü"], "text": hostile}
    assert variables(params) == {
        "MULTIRUN_PARAM_MASS": "1.5",
        "MULTIRUN_PARAM_N_2": "x",
        "MULTIRUN_PARAM__U": "null",
        "MULTIRUN_PARAM_ON": "true",
        "MULTIRUN_PARAM_L": '[1, "\\u00fc"]',
        "MULTIRUN_PARAM_TEXT": hostile,
    }
    assert variables({}) == {}


def test_names_that_are_no_identifiers_are_left_out() -> None:
    names = ["", "2x", "a-b", "a b", "a=b", "ä", "a\n", "a.b", "\0"]
    assert omitted(dict.fromkeys(names, 1) | {"good": 1}) == names


def test_names_that_differ_in_capitals_alone_are_left_out() -> None:
    assert omitted({"mass": 1, "Mass": 2, "x": 3, "MASS": 4}) == ["mass", "Mass", "MASS"]


def test_names_that_are_left_out_anyway_take_nothing_from_others() -> None:
    # The capitals of these are "SS" and "I", though they are no identifiers here.
    params = {"ß": 1, "ss": 2, "ı": 3, "i": 4}
    assert omitted(params) == ["ß", "ı"]
    assert variables(params)["MULTIRUN_PARAM_SS"] == "2"


def test_long_values_and_names_are_left_out() -> None:
    assert MAX_VALUE_BYTES == 32 * 1024  # as the pages say
    params = {
        "just": "x" * MAX_VALUE_BYTES,
        "over": "x" * (MAX_VALUE_BYTES + 1),
        "bytes": "ü" * (MAX_VALUE_BYTES // 2 + 1),
        "list": [1] * MAX_VALUE_BYTES,
    }
    assert omitted(params) == ["over", "bytes", "list"]
    assert variables(params)["MULTIRUN_PARAM_JUST"] == params["just"]
    # A list of names that were itself too long says that there are some.
    assert omitted(params | {"n" * (MAX_VALUE_BYTES + 1): 1}) == ["*"]


def test_values_that_no_environment_carries_are_left_out() -> None:
    params = {"nul": "a\0b", "half": "\ud800", "byte": "\udcff", "json": ["\0\ud800"]}
    assert omitted(params) == ["nul", "half"]


def test_a_program_with_very_many_parameters_still_starts() -> None:
    params = {f"parameter_number_{number}": "x" * 5 for number in range(60_000)}
    env = run_environment(params, "/", 0, 1)
    assert env["MULTIRUN_PARAMS_OMITTED"] == '["*"]'
    assert sum(len(name) + len(value) + 2 for name, value in env.items()) < MAX_TOTAL_BYTES + 1000
    assert len(env) > 1000
    code = "import os; print(len([n for n in os.environ if n.startswith('MULTIRUN_PARAM_')]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | env,
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(done.stdout) == len(env) - 4


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.text(st.characters(categories=["Cs"]))))
def test_every_parameter_is_there_or_listed(params: dict[str, Any]) -> None:
    found = variables(params)
    listed = omitted(params)
    for name, value in params.items():
        if name not in listed:
            assert found["MULTIRUN_PARAM_" + name.upper()] == value
    assert len(found) - bool(listed) == len(params) - len(listed)
    for name, value in found.items():
        assert name.isascii()
        assert b"\0" not in os.fsencode(value)
