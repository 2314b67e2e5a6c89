"""The journal when its loop ends, its file goes, or a program spoils what is tidied after it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import segment
from multirun_core._sweep.journal import Journal
from multirun_core._transport.process import ProcessId
from staging_help import as_plain_user

from multirun_core import (
    ParallelLocalRunner,
    Sweep,
    SweepError,
    multirun,
    multirunAsync,
)


def own() -> dict[str, Any]:
    return {"event": "driver", "process": ProcessId.own().to_json()}


@pytest.mark.asyncio
async def test_whoever_waits_for_a_flush_is_told_though_every_task_is_cancelled(
    tmp_path: Path,
) -> None:
    journal = Journal(segment.create(tmp_path, 1, own()), 1)
    for _ in range(3):
        journal.event("note")
        flushed = journal.flushed()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        async with asyncio.timeout(10):
            await flushed
    await journal.close()
    assert len(list(segment.read(journal.path))) == 4


def test_a_sweep_is_ended_in_order_when_its_loop_ends(tmp_path: Path) -> None:
    root = tmp_path / "s"

    async def begin_and_leave() -> None:
        sweep = asyncio.ensure_future(
            multirunAsync(
                runs=[{"n": n} for n in range(50)],
                cmd=["sleep", "0.01"],
                output_path=root,
                runner=ParallelLocalRunner(grace=0.2),
                progress=False,
            )
        )
        while not (root / "runs" / "000010").exists():
            await asyncio.sleep(0.001)
        assert not sweep.done()

    asyncio.run(begin_and_leave())
    assert Sweep.open(root).statistics.complete_count == 50


@pytest.mark.parametrize("mode", ["555", "000"])
def test_a_program_may_close_its_run_directory(tmp_path: Path, mode: str) -> None:
    def work() -> None:
        sweep = multirun(
            runs=[{}] * 3, cmd=["chmod", mode, "."], output_path=tmp_path / "s", progress=False
        )
        assert sweep.statistics.success_count == 3

    as_plain_user(work)


def test_a_program_may_put_a_file_in_the_place_of_its_run_directory(tmp_path: Path) -> None:
    spoil = 'here=$PWD; cd ..; rm -r "$here"; echo x > "$here"'
    sweep = multirun(
        runs=[{}] * 3, cmd=["sh", "-c", spoil], output_path=tmp_path / "s", progress=False
    )
    assert sweep.statistics.success_count == 3
    assert list(sweep.results) == [None] * 3


@pytest.mark.parametrize("count", [1, 300])
def test_nothing_counts_as_done_once_the_sweep_is_removed(tmp_path: Path, count: int) -> None:
    with pytest.raises(SweepError):
        multirun(
            runs=[{}] * count,
            cmd=["rm", "-rf", str(tmp_path / "s")],
            output_path=tmp_path / "s",
            progress=False,
        )
