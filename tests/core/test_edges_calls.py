"""Arguments of the wrong type; two calls that name no directory; what a skipped run shows."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import call

from multirun_core import Sweep, SweepExistsError, UsageError, multirun


@pytest.mark.parametrize(
    "wrong",
    [
        {"env": {"A": 1}},
        {"env": {1: "A"}},
        {"retries": "2"},
        {"timeout": [2]},
        {"max_failures": "3"},
        {"max_failures": 1.5},
        {"max_failures": -1},
        {"rerun": 5},
        {"rerun": True},
        {"rerun": ["a"]},
    ],
)
def test_an_argument_of_the_wrong_type_is_wrong_use(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        multirun(runs=[{}], cmd=["true"], output_path=tmp_path / "s", progress=False, **wrong)
    assert not (tmp_path / "s").exists()


def test_calls_that_name_no_directory_get_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(call, "_default_root", lambda: Path("multirun-now"))
    paths: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: paths.append(multirun(runs=[{}], cmd=["true"], progress=False).path)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == [
        "multirun-now",
        "multirun-now-2",
        "multirun-now-3",
        "multirun-now-4",
    ]


def test_a_run_that_is_skipped_when_its_sweep_is_resumed_shows_no_earlier_end(
    tmp_path: Path,
) -> None:
    root = tmp_path / "s"
    keywords: dict[str, Any] = {
        "runs": [{"n": n} for n in range(300)],
        "cmd": ["sh", "-c", "echo 1 > results.json; exit 1"],
        "output_path": root,
        "progress": False,
    }
    multirun(**keywords)
    told = multirun(**keywords, resume=True, max_failures=0)
    read = Sweep.open(root)

    def shown(sweep: Sweep) -> list[tuple[object, ...]]:
        return [(run.status, run.reason, run.exit_code, run.result) for run in sweep.runs]

    assert shown(read) == shown(told)
    assert told.runs[299].reason == "max_failures"


def test_the_current_directory_may_have_been_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="current directory does not exist"):
        multirun(runs=[{}], cmd=["true"], output_path="relative", progress=False)
    sweep = multirun(runs=[{}], cmd=["true"], output_path=tmp_path / "s", progress=False)
    assert sweep.statistics.success_count == 1
    assert sweep.manifest["origin"]["directory"] is None


def test_a_link_to_nothing_is_no_output_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SweepExistsError, match="is a link to 'nowhere'"):
        multirun(runs=[{}], cmd=["true"], output_path=tmp_path / "link", progress=False)
    (tmp_path / "nowhere").mkdir()
    multirun(runs=[{}], cmd=["true"], output_path=tmp_path / "link", progress=False)
    assert Sweep.open(tmp_path / "nowhere").statistics.success_count == 1


def test_results_show_what_is_small(tmp_path: Path) -> None:
    program = ["sh", "-c", 'test {n} = 1 || cp "../../../{n}" results.json']
    (tmp_path / "0").write_text('{"x": 1.5}')
    (tmp_path / "2").write_text(f'["{"y" * 100_000}"]')
    (tmp_path / "3").write_text("no JSON")
    runs = [{"n": n} for n in range(4)]
    sweep = multirun(runs=runs, cmd=program, output_path=tmp_path / "s", progress=False)
    assert repr(sweep.results) == "<results of 4 runs: [{'x': 1.5}, None, …, …]>"
    assert repr(sweep.results) == repr(Sweep.open(tmp_path / "s").results)
