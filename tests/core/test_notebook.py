"""`multirun` in a real Jupyter kernel, whose interrupt is Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from sweeps import processes_with

from multirun_core import RunStatistics, Sweep

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Proactor event loop"),
]

CALL = """
from multirun_core import ParallelLocalRunner, multirun, multirunAsync
keywords = dict(
    runs=[{{"n": n}} for n in range({runs})],
    cmd=["sh", "-c", {text!r}],
    output_path={root!r},
    runner=ParallelLocalRunner(max_parallel=2, grace=0.3),
)
"""


def notebook(*cells: str) -> NotebookClient:
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return NotebookClient(book, timeout=50, kernel_name="python3")


def outputs(client: NotebookClient) -> str:
    return "".join(
        output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
        for cell in client.nb.cells
        for output in cell.get("outputs", [])
    )


def test_a_sweep_in_a_notebook(tmp_path: Path) -> None:
    client = notebook(
        CALL.format(runs=5, text="echo $MULTIRUN_PARAM_N > results.json", root=str(tmp_path / "a")),
        "sweep = multirun(**keywords)\nlist(sweep.results)",
        f"keywords['output_path'] = {str(tmp_path / 'b')!r}",
        "again = await multirunAsync(**keywords)\nlist(again.results) + ['async']",
    )
    client.execute()
    text = outputs(client)
    assert "[0, 1, 2, 3, 4]" in text
    assert "[0, 1, 2, 3, 4, 'async']" in text


def test_a_bar_in_the_cell(tmp_path: Path) -> None:
    client = notebook(
        CALL.format(runs=3, text="sleep 0.7", root=str(tmp_path / "a")),
        "sweep = multirun(**keywords)",
        f"keywords['output_path'] = {str(tmp_path / 'b')!r}",
        "sweep = await multirunAsync(**keywords)",
        f"keywords['output_path'] = {str(tmp_path / 'c')!r}",
        "sweep = multirun(**keywords, progress=False)",
    )
    client.execute()
    for number in (1, 3):
        [shown] = client.nb.cells[number].outputs
        assert shown.output_type == "display_data"
        assert "<pre" in shown.data["text/html"]
        assert "3/3" in shown.data["text/plain"]
    assert client.nb.cells[5].outputs == []


@pytest.mark.asyncio
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_kernels_interrupt_is_ctrl_c(tmp_path: Path, asynchronous: bool) -> None:
    root = tmp_path / "s"
    text = "trap '' TERM; setsid sleep 300 & touch started; while :; do sleep 1; done"
    client = notebook(
        CALL.format(runs=20, text=text, root=str(root)),
        "await multirunAsync(**keywords)" if asynchronous else "multirun(**keywords)",
    )
    executing = asyncio.create_task(client.async_execute())
    async with asyncio.timeout(40):
        while len(list(root.glob("runs/*/started"))) < 2:
            await asyncio.sleep(0.02)
        await client.km.interrupt_kernel()
        with pytest.raises(CellExecutionError, match=r"KeyboardInterrupt|CancelledError"):
            await executing
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == RunStatistics(
        failure_count=2, skipped_count=18, complete_count=20, total_count=20
    )
