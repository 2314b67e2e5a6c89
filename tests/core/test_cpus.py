"""How many CPUs a process may use: affinity, and quotas of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from multirun_core._runners.cpus import usable_cpus

from multirun_core import ParallelLocalRunner, UsageError

ALL = len(os.sched_getaffinity(0))


def system(tmp_path: Path, groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Make a control group tree and the process's own view of it."""
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root, proc


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, ALL),
        ("0::/a/b\n", {}, ALL),
        ("2:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n"}, ALL),
        (
            "2:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "70000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        ("4:memory:/x\n0::/\n", {"cpu.max": "garbage"}, ALL),
    ],
)
def test_quotas(tmp_path: Path, groups: str, files: dict[str, str], cpus: int) -> None:
    assert usable_cpus(*system(tmp_path, groups, files)) == min(cpus, ALL)


def test_a_part_of_a_cpu_counts_as_one_more(tmp_path: Path) -> None:
    root, proc = system(tmp_path, "0::/\n", {"cpu.max": "110000 100000\n"})
    assert usable_cpus(root, proc) == min(2, ALL)


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == ALL


def test_affinity_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from multirun_core import ParallelLocalRunner\n"
        "print(ParallelLocalRunner(max_parallel='auto').max_parallel)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_auto_or_a_number() -> None:
    assert ParallelLocalRunner(max_parallel="auto").max_parallel == usable_cpus()
    with pytest.raises(UsageError, match="'many'"):
        ParallelLocalRunner(max_parallel="many")  # type: ignore[arg-type]
