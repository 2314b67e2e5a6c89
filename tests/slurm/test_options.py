"""The options: typed, and checked before anything is submitted."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._convert import accepts
from multirun_core._options import options_of, parse_option_text
from multirun_core._sweep.choosing import choose_runner
from multirun_core.errors import RunnerOptionError, UsageError
from multirun_core.plugins import RunnerSpec
from multirun_slurm.arguments import scaled
from multirun_slurm.job import JobOptions, sbatch_arguments
from multirun_slurm.options import SlurmOptions
from multirun_slurm.runner import SlurmRunner
from multirun_slurm.signature import options_from

from multirun_core import multirun, multirunAsync


def test_each_option_becomes_the_argument_of_its_name() -> None:
    options = JobOptions(
        partition=["gpu", "long"], account="physics", qos="high", reservation="course",
        constraint="skylake&ib", nodelist="n1", exclude=["n[2-4]", "n7"], time="1:30:00",
        cpus_per_task=4, mem="4GiB", gpus="a100:2", gres=["shard:1"], licenses="matlab:1",
        nodes="1-2", ntasks=2, ntasks_per_node=1, exclusive=True, nice=100,
        sbatch_args=["--mail-type=END", "--mail-user", "me@here"],
    )  # fmt: skip
    assert sbatch_arguments(options) == [
        "--partition=gpu,long", "--account=physics", "--qos=high", "--reservation=course",
        "--constraint=skylake&ib", "--nodelist=n1", "--exclude=n[2-4],n7", "--time=90",
        "--cpus-per-task=4", "--gpus=a100:2", "--gres=shard:1", "--licenses=matlab:1",
        "--nodes=1-2", "--ntasks=2", "--ntasks-per-node=1", "--nice=100", "--mem=4096M",
        "--exclusive", "--mail-type=END", "--mail-user", "me@here",
    ]  # fmt: skip


def test_nothing_is_asked_for_by_default() -> None:
    assert sbatch_arguments(JobOptions()) == []
    assert sbatch_arguments(SlurmOptions().job) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": ""}, "partition is ''; it can be neither empty"),
        ({"partition": ["a", " "]}, "neither empty"),
        ({"account": "a\nb"}, "control characters"),
        ({"sbatch_args": ["--comment=a\0b"]}, "control characters"),
        ({"sbatch_args": "--mail-type=END"}, "it must be a list such as"),
        ({"sbatch_args": ["--array=1-5"]}, "'--array=1-5', which the runner sets itself"),
        ({"sbatch_args": ["-o/tmp/x"]}, "which the runner sets itself"),
        ({"sbatch_args": ["--out=x"]}, "which the runner sets itself"),
        ({"sbatch_args": ["-J", "x"]}, "which the runner sets itself"),
        ({"sbatch_args": ["--wrap=true"]}, "which the runner sets itself"),
        ({"cpus_per_task": 0}, "cpus_per_task is 0; it must be a whole number"),
        ({"cpus_per_task": True}, "cpus_per_task is True"),
        ({"gpus": 0}, "gpus is 0"),
        ({"nodes": -1}, "nodes is -1"),
        ({"time": "soon"}, "time is 'soon'"),
        ({"mem": 1 << 32}, "a number means MiB here"),
        ({"mem": "1G", "mem_per_cpu": "1G"}, "mem and mem_per_cpu are both given"),
        ({"max_jobs": 0}, "max_jobs is 0"),
        ({"pack": 0}, "pack is 0"),
        ({"pack": 10, "nodes": 2}, "cannot share a job"),
        ({"pack": 10, "gpus": 1}, "cannot share a job"),
        ({"poll_interval": 0}, "poll_interval is 0; it must be 'auto' or seconds over 0"),
        ({"infrastructure_retries": -1}, "cannot be below 0"),
        ({"command_timeout": 0}, "it must be over 0"),
        ({"setup": "module load gcc"}, "it must be a list of lines"),
        ({"signal": "TERM@60"}, "write USR1 or USR2"),
        ({"signal": "USR1"}, "write USR1 or USR2"),
        ({"retry_scale": {"cpus": 2}}, "retry_scale holds 'cpus': 2"),
        ({"retry_scale": {"mem": 1}}, "a factor over 1"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SlurmOptions(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize("argument", ["--dependency=afterok:1", "--mail-type=END", "--export=NONE"])
def test_other_arguments_pass(argument: str) -> None:
    assert sbatch_arguments(JobOptions(sbatch_args=[argument])) == [argument]


def test_a_run_says_what_it_needs_by_its_parameters() -> None:
    options = SlurmOptions(
        mem="1G", time=10, per_run=lambda p: {"mem": "8G", "partition": "big"} if p["n"] > 9 else {}
    )
    assert options.job_for({"n": 1}) == options.job
    large = options.job_for({"n": 10})
    assert (large.mem_mib, large.partition, large.minutes) == (8192, "big", 10)


@pytest.mark.parametrize(
    ("per_run", "message"),
    [
        (lambda p: {"pack": 2}, "'pack' is nothing that a single run can ask Slurm for"),
        (lambda p: {"mem": "much"}, "mem is 'much'"),
        (lambda p: p["missing"], "KeyError: 'missing'"),
        (lambda p: None, "per_run({'n': 1})"),
    ],
)
def test_a_run_that_says_nonsense_is_named(per_run: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SlurmOptions(per_run=per_run).job_for({"n": 1})
    assert message in str(caught.value)
    assert "per_run({'n': 1})" in str(caught.value)


def test_more_is_asked_for_after_too_little() -> None:
    options = JobOptions(mem_per_cpu="1000M", time=timedelta(minutes=5))
    assert scaled(options, memory=1.5, time=1) == replace(options, mem_per_cpu=1500)
    assert scaled(options, memory=1, time=2).minutes == 10


def test_what_can_share_a_job() -> None:
    assert JobOptions(cpus_per_task=4, mem="1G", nodes=1, ntasks=1).packable
    for alone in ({"nodes": 2}, {"ntasks": 2}, {"gpus": 1}, {"gres": "x:1"}, {"exclusive": True}):
        assert not JobOptions(**alone).packable


class Runner:
    """A runner."""

    @options_from(SlurmOptions)
    def __init__(self, **options: Any) -> None:
        self.options = SlurmOptions(**options)


def test_core_reads_types_and_help_of_all_options() -> None:
    options = options_of(Runner)
    assert not options.open
    assert options.known["partition"].help == (
        "where to run; several with commas between, or a list."
    )
    assert options.known["pack"].default == 1
    assert accepts(options.known["partition"].annotation, ["a", "b"])
    assert not accepts(options.known["cpus_per_task"].annotation, "4")
    assert accepts(options.known["time"].annotation, timedelta(minutes=1))
    assert [name for name, one in options.known.items() if not one.help] == []
    assert Runner(time=5, pack="auto").options.pack == "auto"
    assert set(options.known) == {field.name for field in fields(SlurmOptions)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("time=1:30:00", "1:30:00"),
        ("time=90", 90),
        ("partition=a,b", "a,b"),
        ("mem=4G", "4G"),
        ("gpus=a100:2", "a100:2"),
        ("gpus=2", 2),
        ("pack=auto", "auto"),
        ("pack=20", 20),
        ("sbatch-args=--mail-type=END", ["--mail-type=END"]),
        ("setup=module load gcc", ["module load gcc"]),
        ('retry_scale={"mem": 2}', {"mem": 2}),
    ],
)
def test_options_as_they_are_written_on_the_command_line(text: str, value: object) -> None:
    name, found = parse_option_text(RunnerSpec("slurm", Runner), text)  # type: ignore[arg-type]
    assert found == value
    assert name in SlurmOptions.__dataclass_fields__
    SlurmOptions(**{"mem": "1G", name: found})


def test_a_sweep_with_a_function_among_its_options_is_resumed_by_its_script() -> None:
    _, record = choose_runner("slurm", {"time": "1:30:00", "exclude": ("n1", "n2")})
    assert record == {"name": "slurm", "options": {"time": "1:30:00", "exclude": ["n1", "n2"]}}
    _, record = choose_runner("slurm", {"per_run": lambda params: {}})
    assert record == {"class": "multirun_slurm.runner.SlurmRunner"}


def test_the_reference_names_every_option_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "slurm.md").read_text()
    names = [field.name for field in fields(SlurmOptions)]
    assert [name for name in names if f"`{name}`" not in text] == []
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    for field in fields(SlurmOptions):
        if field.name in rows:
            default = [] if field.default == () else field.default
            shown = repr(default).replace("'", '"').removesuffix(".0")
            assert rows[field.name] == shown, field.name


def test_warm_python_is_refused_where_runs_share_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for jobs that carry out several runs: give pack, too"):
        multirun(
            runs=[{"a": 1}],
            cmd=["python", "script.py"],
            output_path=tmp_path / "s",
            runner="slurm",
            runner_options={"warm": True},
        )
    assert not (tmp_path / "s").exists()


ODD: list[Any] = [
    object(), None, True, False, 0, 1, -1, 2.5, math.nan, math.inf, 10**400, 1j, b"x", "", "x", "1",
    "auto", [], ["x"], [1], [""], (), {"x"}, {}, {"mem": "2"}, {"mem": math.inf}, {1: 2},
    {"x": "y"}, iter(["--mail-type=END"]), print, Path("x"), timedelta(1), timedelta.max,
]  # fmt: skip


def refusal(name: str, value: Any) -> str | None:
    """Return why an option is refused; None where it is taken. No other error will do."""
    try:
        SlurmRunner(**{name: value})
    except UsageError as error:
        return str(error)
    return None


def check_option(field: Any, value: Any) -> None:
    """See that a value is taken where it is of the option's type, or refused by name."""
    why = refusal(field.name, value)
    if why is None:
        fits = accepts(get_type_hints(SlurmOptions)[field.name], value)
        assert fits or value is field.default, repr(value)
    else:
        assert field.name in why


@pytest.mark.parametrize("field", fields(SlurmOptions), ids=lambda field: field.name)
def test_no_value_of_an_option_is_taken_for_what_it_is_not(field: Any) -> None:
    for value in ODD:
        check_option(field, value)


@given(st.sampled_from(fields(SlurmOptions)), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
))  # fmt: skip
def test_no_value_at_all_is_taken_for_what_it_is_not(field: Any, value: Any) -> None:
    check_option(field, value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": 3}, "partition is 3; it must be a text or a list"),
        ({"nodes": 2.5}, "nodes is 2.5; it must be a whole number or a text"),
        ({"gpus": [1]}, "gpus is [1]; it must be a whole number or a text"),
        ({"nice": "5"}, "nice is '5'; it must be a whole number"),
        ({"exclusive": "user"}, "exclusive is 'user'; it must be True or False"),
        ({"sbatch_args": [5]}, "sbatch_args is [5]; it must be a list such as ['--mail-type=END']"),
        ({"signal": 5}, "signal is 5; it must be a text such as 'USR1@60'"),
        ({"retry_scale": 2}, "retry_scale is 2; it must be a mapping from 'mem' or 'time' to"),
        ({"retry_scale": {"mem": "2"}}, "retry_scale is {'mem': '2'}; it must be a mapping"),
        ({"poll_interval": "2"}, "poll_interval is '2'; it must be 'auto' or seconds over 0"),
        ({"poll_interval": math.inf}, "poll_interval is inf; it must be"),
        ({"driver": "there"}, "driver is 'there'; it must be 'here' or 'job'"),
        ({"per_run": {"mem": 1}}, "it must be a function from a run's parameters"),
        ({"command_timeout": math.inf}, "it must be over 0, and finite"),
        ({"file_grace": math.nan}, "it cannot be below 0, nor infinite"),
    ],
)
def test_what_is_of_another_type_is_refused_before_anything_is_done(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"runs": [{"a": 1}], "cmd": ["true"], "output_path": tmp_path / "s"}
    with pytest.raises((RunnerOptionError, UsageError)):
        multirun(**given, runner="slurm", runner_options=options)
    with pytest.raises(UsageError) as caught:
        multirun(**given, runner=SlurmRunner(**options))
    assert message in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [{"driver": "job"}, {"detach": True}])
async def test_a_sweep_that_is_let_go_of_is_not_followed_from_here(
    options: dict[str, Any], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"runs": [{"a": 1}], "cmd": ["true"], "output_path": tmp_path / "s"}
    given |= {"runner": "slurm", "runner_options": options, "wait": False}
    with pytest.raises(UsageError, match="wait=False follows the sweep from here"):
        multirun(**given)
    with pytest.raises(UsageError, match="wait=False follows the sweep from here"):
        await multirunAsync(**given)
    assert not (tmp_path / "s").exists()


def test_what_a_run_says_of_itself_is_of_the_same_types() -> None:
    for said, message in (
        ({"nodes": 2.5}, "nodes is 2.5; it must be a whole number or a text"),
        (["nodes"], "['nodes'] is no mapping of options"),
    ):
        with pytest.raises(UsageError) as caught:
            SlurmOptions(per_run=lambda params, said=said: said).job_for({"n": 1})
        assert f"per_run({{'n': 1}}): {message}" in str(caught.value)


def test_a_list_without_items_asks_for_nothing() -> None:
    assert sbatch_arguments(JobOptions(exclude=[], partition=(), gres=[])) == []
