"""The batch script: what is in it, and that no value is ever taken for shell or for sbatch."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multirun_core._runners.scheduler.command import Job
from multirun_slurm.job import JobOptions
from multirun_slurm.limits import PARTITIONS, read_partitions
from multirun_slurm.scheduler import SlurmScheduler
from multirun_slurm.script import UNREACHABLE, arguments, directive, render
from slurm_cluster import SlurmCluster, wait_until

from multirun_core import Resources

HOSTILE = 'it\'s $HOME; `id` "$(touch x)" *?[a]\n#SBATCH --array=0-9\n%j %% \\ ü€'


def job(directory: str = "/scratch/me/sweep/jobs/1", **changes: object) -> Job:
    settings: dict[str, object] = {
        "name": "multirun-1a2b3c", "directory": directory, "tasks": 3, "body": "exit 0",
    }  # fmt: skip
    return Job(**(settings | changes))  # type: ignore[arg-type]


def test_a_script_as_a_whole() -> None:
    options = JobOptions(
        partition="short", constraint="a&b", mem="2G", sbatch_args=["--comment=two words"]
    )
    body = 'exec sh "$mr_here/job.sh" "$mr_here" "$mr_task" "$mr_restart"'
    text = render(
        options,
        job("/scratch/it's mine", body=body, seconds=90, throttle=2, needs=Resources(cpus=4)),
        "USR1@60",
    )
    assert text == (Path(__file__).parent / "script.sh").read_text()


def test_what_runs_need_comes_before_the_options() -> None:
    options = JobOptions(cpus_per_task=2, mem_per_cpu="1G", time=60, gpus="a100:2")
    needs = Resources(cpus=8, memory_bytes=(3 << 30) + 1, gpus=2)
    found = arguments(options, job(needs=needs, seconds=61))
    assert {"--cpus-per-task=8", "--mem=3073M", "--time=2", "--gpus=a100:2"} <= set(found)
    assert not any(one.startswith("--mem-per-cpu") for one in found)
    assert "--nodes=1" in found
    found = arguments(options, job(needs=Resources(gpus=4)))
    assert {"--cpus-per-task=2", "--mem-per-cpu=1024M", "--time=60", "--gpus=4"} <= set(found)


def test_a_plain_job_is_no_array() -> None:
    assert not any(one.startswith("--array") for one in arguments(JobOptions(), job(tasks=None)))
    assert "--array=0-2" in arguments(JobOptions(), job())
    assert "--array=0-2%1" in arguments(JobOptions(), job(throttle=1))


def test_arguments_are_said_again_for_they_win_against_the_environment() -> None:
    options = JobOptions(partition="short")
    command = SlurmScheduler(options).submit(job(), "/x/script")
    start = list(command).index("sbatch")
    assert list(command[start:]) == [
        "sbatch",
        "--parsable",
        *arguments(options, job()),
        "/x/script",
    ]
    assert "--partition=short" in command


def run_script(directory: str, body: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    text = render(JobOptions(), job(directory, body=body))
    return subprocess.run(
        ["sh"],
        input=text.encode("utf-8", "surrogateescape"),
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        timeout=30,
        check=False,
    )


NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1)


@settings(max_examples=30, deadline=None)
@given(NAMES.filter(lambda name: name not in (".", "..") and len(name.encode()) < 200))
def test_a_directory_may_have_any_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    directory = tmp_path_factory.mktemp("any") / name
    directory.mkdir()
    done = run_script(str(directory), 'printf %s "$mr_here" >"$mr_here/seen"; echo told')
    assert done.returncode == 0
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (directory / "seen").read_bytes() == os.fsencode(directory)
    assert (directory / "out").read_bytes() == b"told\n"
    assert len(list(directory.iterdir())) == 2


def test_what_a_job_is_told(tmp_path: Path) -> None:
    body = 'echo "$mr_task $mr_restart $MULTIRUN_NODE"'
    run_script(str(tmp_path), body)
    run_script(
        str(tmp_path), body, SLURM_ARRAY_TASK_ID="7", SLURM_RESTART_COUNT="2", SLURMD_NODENAME="n3"
    )
    assert (tmp_path / "out").read_text() == "0 0 \n7 2 n3\n"


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs"])))
def test_a_directive_is_one_line_and_one_word(text: str) -> None:
    line = directive(f"--comment={text}")
    assert "\n" not in line
    # For what is between double quotes sbatch has the rules of POSIX, but for $ and `.
    if "$" not in text and "`" not in text:
        assert shlex.split(line, comments=True) == [f"--comment={text}"]


def test_a_directive_cannot_be_continued() -> None:
    with pytest.raises(ValueError, match="cannot stand in a line"):
        directive("--comment=a\n#SBATCH --array=0-9")


WORDS = [
    "plain", "two words", "it's", 'say "hi"', "back\\slash", "\\", "a#b", "#", "$HOME `id` $(id)",
    "*?[x]", ";|&<>", "%j%%", "ü€", "-x", "a=b,c:d", " lead", "trail ", "\"'\"", "~", "!",
]  # fmt: skip


def test_the_real_sbatch_reads_directives_as_they_were_meant(slurm: SlurmCluster) -> None:
    for word in WORDS:
        script = f"#!/bin/sh\n#SBATCH {directive(f'--comment={word}')}\n#SBATCH --hold\nexit 0\n"
        job_id = slurm.submit(script)
        found = slurm.run("squeue", "-h", "-j", job_id, "-o", "%k").stdout.removesuffix("\n")
        assert found == word


def test_a_real_array_from_a_directory_with_a_hostile_name(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    directory = tmp_path / HOSTILE.replace("/", "")
    directory.mkdir()
    body = 'printf "%s" "$MULTIRUN_NODE" >"$mr_here/node-$mr_task"'
    array = job(str(directory), body=body, tasks=3, seconds=60)
    scheduler = SlurmScheduler(JobOptions(mem="50M"))
    script = directory / "script"
    script.write_text(scheduler.script(array))
    printed = slurm.run(*scheduler.submit(array, str(script))).stdout
    assert scheduler.job_id(printed)
    seen = [directory / f"node-{task}" for task in range(3)]
    wait_until(lambda: all(one.exists() and one.read_text() for one in seen), "three nodes")
    assert {one.read_text() for one in seen} <= set(slurm.nodes)
    assert (directory / "out").read_text() == ""


@pytest.mark.timeout(200)
def test_a_node_that_does_not_see_the_directory_says_so(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multirun_slurm.script.PATIENCE", 2)
    array = job(str(tmp_path / "nowhere"), tasks=None)
    scheduler = SlurmScheduler()
    script = tmp_path / "script"
    script.write_text(scheduler.script(array))
    job_id = scheduler.job_id(slurm.run(*scheduler.submit(array, str(script))).stdout)
    assert job_id is not None
    slurm.wait_state(job_id, "FAILED")
    told = scheduler.states(slurm.run(*scheduler.status([job_id])).stdout)[job_id]
    assert told.phase == "ended"
    assert told.reason is None
    assert "does not see the directory" in (told.message or "")
    assert slurm.show(job_id)["ExitCode"] == f"{UNREACHABLE}:0"


# What Slurm sets in a job or step, and does not set anew in each job that is submitted from there:
# sbatch(1) and srun(1), OUTPUT ENVIRONMENT VARIABLES.
OF_A_JOB = (
    "ARRAY_JOB_ID", "ARRAY_TASK_COUNT", "ARRAY_TASK_ID", "ARRAY_TASK_MAX", "ARRAY_TASK_MIN",
    "ARRAY_TASK_STEP", "CONTAINER", "CPUS_PER_GPU", "CPUS_PER_TASK", "CPU_BIND", "CPU_FREQ_REQ",
    "DISTRIBUTION", "DIST_PLANESIZE", "GPUS", "GPUS_ON_NODE", "GPUS_PER_NODE", "GPUS_PER_SOCKET",
    "GPUS_PER_TASK", "GPU_BIND", "GPU_FREQ", "HET_SIZE", "HINT", "JOB_DEPENDENCY", "JOB_GPUS",
    "JOB_RESERVATION", "MEM_BIND", "MEM_PER_CPU", "MEM_PER_GPU", "NTASKS", "NTASKS_PER_CORE",
    "NTASKS_PER_GPU", "NTASKS_PER_NODE", "NTASKS_PER_SOCKET", "OVERCOMMIT", "PROFILE",
    "RESTART_COUNT", "SHARDS_ON_NODE", "SRUN_COMM_HOST", "SRUN_COMM_PORT", "STEPID", "STEP_GPUS",
    "STEP_ID", "STEP_NODELIST", "STEP_NUM_NODES", "STEP_NUM_TASKS", "STEP_TASKS_PER_NODE",
    "THREADS_PER_CORE", "TRES_PER_TASK", "UMASK",
)  # fmt: skip


def test_what_somebody_has_in_their_profile_changes_nothing(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = {
        "SBATCH_PARTITION": "short", "SBATCH_WAIT": "1", "SBATCH_ARRAY_INX": "0-3",
        "SBATCH_ERROR": "/nowhere/err", "SQUEUE_PARTITION": "short", "SQUEUE_NAMES": "other",
        "SQUEUE_STATES": "PENDING", "SQUEUE_FORMAT": "%i", "SQUEUE_FORMAT2": "JobID",
        "SQUEUE_USERS": "nobody", "SQUEUE_ACCOUNT": "other", "SCANCEL_BATCH": "1",
        "SCANCEL_INTERACTIVE": "1", "SCANCEL_NAME": "other", "SCANCEL_STATE": "PENDING",
        "SINFO_PARTITION": "none",
    }  # fmt: skip
    profile |= {f"SLURM_{name}": "7" for name in OF_A_JOB}
    for name, value in profile.items():
        monkeypatch.setitem(slurm.env, name, value)
    scheduler = SlurmScheduler(JobOptions(partition="main", mem="50M"))
    body = 'env >"$mr_here/env-part"; mv "$mr_here/env-part" "$mr_here/env"; exec sleep 300'
    asked = job(str(tmp_path), body=body, tasks=None, name="multirun-profile")
    script = tmp_path / "script"
    script.write_text(scheduler.script(asked))
    job_id = scheduler.job_id(slurm.run(*scheduler.submit(asked, str(script))).stdout)
    assert job_id is not None
    wait_until((tmp_path / "env").exists, "a job that runs")
    told = scheduler.states(slurm.run(*scheduler.status([job_id])).stdout)
    assert list(told) == [job_id]
    assert told[job_id].phase == "running"
    assert scheduler.found(slurm.run(*scheduler.find(asked.name)).stdout, asked.name) == [job_id]
    assert read_partitions(slurm.run(*PARTITIONS).stdout)
    lines = (tmp_path / "env").read_text().splitlines()
    assert "SLURM_JOB_PARTITION=main" in lines
    of_a_job = {f"SLURM_{name}" for name in OF_A_JOB}
    assert [line for line in lines if line.partition("=")[0] in of_a_job] == []
    slurm.run(*scheduler.cancel([job_id]))

    def phase() -> str:
        return scheduler.states(slurm.run(*scheduler.status([job_id])).stdout)[job_id].phase

    wait_until(lambda: phase() == "ended", "the end of the job")
