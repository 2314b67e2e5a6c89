from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from typing import TextIO, cast

import pytest
from display_tools import WATCHING, done, frames, in_terminal, python
from multirun_core._display.pace import Pace
from multirun_core._display.painter import PlainLines
from multirun_core._display.reporter import Reporter
from multirun_core._display.status import displayStatus
from multirun_core._display.stream import SafeStream, in_notebook, one_line, place_of
from multirun_core._model.status import RunStatistics
from multirun_core.errors import UsageError


class Counting:
    """Statistics that are `last` from the n-th look on."""

    def __init__(self, first: RunStatistics, last: RunStatistics, looks: int = 3) -> None:
        self.first, self.last, self.looks = first, last, looks

    def __call__(self) -> RunStatistics:
        self.looks -= 1
        return self.first if self.looks > 0 else self.last


@pytest.mark.asyncio
async def test_a_small_sweep_says_nothing() -> None:
    stream = io.StringIO()
    await Reporter(stream=stream).watch(Counting(done(0, 3), done(3, 3), 2), "s")
    assert stream.getvalue() == ""


def test_a_small_sweep_imports_no_rich() -> None:
    seen = in_terminal(python(WATCHING, "3", "0.05", "None"))
    assert "False" in seen
    assert "study" not in seen


@pytest.mark.asyncio
async def test_no_runs_end_at_once() -> None:
    await asyncio.wait_for(Reporter(stream=io.StringIO()).watch(RunStatistics, "s"), 1)


@pytest.mark.asyncio
async def test_without_a_terminal_a_line_remains() -> None:
    stream = io.StringIO()
    await Reporter(stream=stream).watch(Counting(done(0, 3), done(2, 3, 1)), "s", delay=0.0)
    (first,) = stream.getvalue().splitlines()
    assert first.startswith("multirun: 3/3 done, 1 failed, in ")


def test_plain_lines_come_at_growing_intervals() -> None:
    now = 0.0
    stream = io.StringIO()
    lines = PlainLines(SafeStream(stream), 0.0, lambda: now)
    pace = Pace()
    times = []
    for tenth in range(4000):
        now = tenth / 10
        pace.update(now, done(tenth, 5000))
        before = stream.tell()
        lines.draw(done(tenth, 5000), pace)
        if stream.tell() > before:
            times.append(now)
    assert times == [5, 10, 20, 40, 80, 140, 200, 260, 320, 380]
    said = stream.getvalue().splitlines()
    assert said[0] == "multirun: 50/5000 done, 10/s, about 8 min left"
    lines.close()
    assert stream.getvalue().splitlines()[-1] == "multirun: 3999/5000 done, in 7 min"


@pytest.mark.asyncio
async def test_progress_false_says_nothing_at_all() -> None:
    stream = io.StringIO()
    reporter = Reporter(False, stream)
    reporter.say("something")
    await reporter.watch(lambda: done(0, 3), "s")  # nothing to watch for, so it returns
    assert stream.getvalue() == ""


@pytest.mark.asyncio
async def test_cancelling_leaves_the_last_state() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    latest = done(0, 9)
    watching = asyncio.create_task(reporter.watch(lambda: latest, "s", delay=0.0))
    await asyncio.sleep(0.3)
    latest = done(4, 9)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert "4/9 done" in stream.getvalue().splitlines()[-1]
    assert not _display_threads()


@pytest.mark.asyncio
async def test_an_error_of_the_statistics_comes_through() -> None:
    looks = 0

    def broken() -> RunStatistics:
        nonlocal looks
        looks += 1
        if looks > 2:
            raise ZeroDivisionError
        return done(0, 2)

    with pytest.raises(ZeroDivisionError):
        await Reporter(stream=io.StringIO()).watch(broken, "s", delay=0.0)
    assert not _display_threads()


@pytest.mark.asyncio
async def test_lines_of_many_threads_all_come_out_whole() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    finished = False

    def state() -> RunStatistics:
        return done(2, 2) if finished else done(1, 2)

    watching = asyncio.create_task(reporter.watch(state, "s", delay=0.0))
    await asyncio.sleep(0)

    def talk(name: int) -> None:
        for number in range(50):
            reporter.say(f"line {name}.{number}.")

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    finished = True
    await watching
    reporter.say("after the end")
    said = [line for line in stream.getvalue().splitlines() if ". " not in line]
    wanted = {f"multirun: line {name}.{number}." for name in range(4) for number in range(50)}
    assert wanted <= set(said)
    assert said[-1] == "multirun: after the end"


def test_a_line_stays_one_line_and_harmless() -> None:
    stream = io.StringIO()
    Reporter(stream=stream).say("run a\nb \x1b[2J \x9b é")
    assert stream.getvalue() == "multirun: run a\\nb \\x1b[2J \\x9b é\n"
    assert one_line("plain é") == "plain é"


class _Failing(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.asyncio
@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize("make", [_Failing, _closed, lambda: cast(TextIO, object())])
async def test_a_broken_stream_disturbs_nobody(make: type[TextIO], progress: bool | None) -> None:
    reporter = Reporter(progress, make())
    reporter.say("x")
    await reporter.watch(Counting(done(0, 2), done(2, 2)), "s", delay=0.0)
    reporter.say("y")
    assert not _display_threads()


@pytest.mark.asyncio
async def test_a_missing_standard_error_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    reporter = Reporter()
    reporter.say("x")
    await reporter.watch(Counting(done(0, 2), done(2, 2)), "s", delay=0.0)


def test_what_cannot_be_encoded_is_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    Reporter(stream=stream).say("é ok")
    assert raw.getvalue() == b"multirun: ? ok\n"


@pytest.mark.asyncio
async def test_a_halted_reader_halts_nobody() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        with os.fdopen(writing, "w", buffering=1) as stream:
            os.set_blocking(writing, False)
            filler = b"x" * 65536
            with contextlib.suppress(BlockingIOError):
                while os.write(writing, filler):
                    pass
            os.set_blocking(writing, True)
            reporter = Reporter(stream=stream)
            late = 0.0
            begun = time.monotonic()
            watching = asyncio.create_task(
                reporter.watch(Counting(done(0, 2), done(2, 2)), "s", delay=0.0)
            )
            while not watching.done():
                before = time.monotonic()
                await asyncio.sleep(0.01)
                late = max(late, time.monotonic() - before)
            assert late < 5  # the loop went on, however busy the machine is
            assert time.monotonic() - begun < 30
            while any(name == "multirun-display" for name in _display_threads()):
                with contextlib.suppress(BlockingIOError):  # it may have written all already
                    os.read(reading, 65536)
                await asyncio.sleep(0.01)
    finally:
        os.close(reading)


def test_a_bar_on_a_terminal() -> None:
    reading, writing = os.pipe()
    seen = in_terminal(python(WATCHING, "10", "0.12", "None"), stdout=writing)
    os.close(writing)
    piped = os.read(reading, 65536).decode()
    os.close(reading)
    lines = frames(seen)
    assert piped == "printed\nTrue\n"  # nothing of the bar, and nothing of it in the terminal
    assert "printed" not in seen
    assert "multirun: said\\x1b[2J\\nso" in lines
    assert lines[-1].startswith("study  ━")
    assert "10/10  5 failed" in lines[-1]
    assert any("/10  " in line and "failed  about" in line for line in lines)
    assert 3 <= sum(line.startswith("study") for line in lines) <= 2 * 8 + 2  # at most 8 a second
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is shown
    assert seen.endswith(("\n", "\x1b[?25h"))


def test_prints_of_the_program_appear_above_the_bar() -> None:
    lines = frames(in_terminal(python(WATCHING, "10", "0.1", "None")))
    assert "printed" in lines


def test_no_color_is_respected() -> None:
    seen = in_terminal(python(WATCHING, "5", "0.15", "None"), env={"NO_COLOR": "1"})
    assert "study" in seen
    assert "\x1b[3" not in seen
    assert "\x1b[9" not in seen


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_can_do_little_gets_plain_lines(term: str) -> None:
    seen = in_terminal(python(WATCHING, "5", "0.15", "None"), env={"TERM": term})
    assert "\x1b" not in seen.replace("\\x1b", "")
    assert "multirun: 5/5 done, 3 failed, in " in seen


@pytest.mark.parametrize("columns", [1, 8, 20, 45])
def test_a_narrow_terminal_shows_what_fits_in_one_line(columns: int) -> None:
    seen = in_terminal(python(WATCHING, "6", "0.14", "None"), columns=columns)
    lines = [line for line in frames(seen) if "printed" not in line and "said" not in line]
    assert all(len(line.rstrip()) < max(columns, 12) for line in lines if "/6" in line)
    assert any("6/6" in line for line in lines) == (columns > 3)


def test_a_bar_can_be_forced() -> None:
    seen = subprocess.run(
        python(WATCHING, "6", "0.14", "True"),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "TERM": "xterm"},
    )
    assert seen.stdout == "printed\nTrue\n"
    assert "━" in seen.stderr
    assert "6/6" in frames(seen.stderr)[-1]


@pytest.mark.asyncio
async def test_two_bars_do_not_fight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    streams = [io.StringIO(), io.StringIO()]
    await asyncio.gather(
        *(
            Reporter(True, stream).watch(Counting(done(0, 2), done(2, 2), 5), "s", delay=0.0)
            for stream in streams
        )
    )
    texts = sorted((stream.getvalue() for stream in streams), key=lambda text: "━" in text)
    assert texts[0].startswith("multirun: 2/2 done")
    assert "━" in texts[1]
    again = io.StringIO()
    await Reporter(True, again).watch(Counting(done(0, 2), done(2, 2)), "s", delay=0.0)
    assert "━" in again.getvalue()


@pytest.mark.asyncio
async def test_status_of_a_runner_and_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    class Runner:
        computeStatistics = staticmethod(Counting(done(0, 2), done(2, 2)))

    class Sweep:
        looks = Counting(done(0, 7), done(7, 7))

        @property
        def statistics(self) -> RunStatistics:
            return self.looks()

    await displayStatus(cast("object", Runner()))  # type: ignore[arg-type]
    await displayStatus(Sweep())
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(",")[0] for line in err.splitlines()] == [
        "multirun: 2/2 done", "multirun: 7/7 done",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="a runner or a sweep, not int"):
        await displayStatus(3)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_status_without_runs_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Runner:
        def computeStatistics(self) -> RunStatistics:
            return RunStatistics()

    await asyncio.wait_for(displayStatus(cast("object", Runner())), 1)  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(SafeStream(None)) == "nowhere"
    assert place_of(SafeStream(_closed())) == "nowhere"
    assert place_of(SafeStream(io.StringIO())) == "plain"
    assert not in_notebook()


def _display_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "multirun-display"]


def test_a_label_cannot_break_the_line() -> None:
    program = WATCHING.replace('"study"', '"st\\nudy\\x1b[2J" + "\\u4e2d" * 60')
    lines = frames(in_terminal(python(program, "6", "0.14", "None"), columns=100))
    shown = [line for line in lines if "/6" in line]
    assert shown
    assert all(line.startswith("st\\nudy\\x1b[2J\u4e2d") for line in shown)
