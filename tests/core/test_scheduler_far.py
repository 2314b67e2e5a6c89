"""Jobs behind a login: files are carried there and back, and a link breaks at every point."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core._runners.scheduler import haste
from multirun_core._runners.scheduler.gathering import Gathering
from multirun_core.backends import Completed, LocalTransport, Login, Sink, Source
from multirun_core.errors import BackendError, TransportError
from multirun_core.testing.loop import run_bounded
from multirun_core.testing.promises import HOSTILE
from queue_tools import QueueRunner

from multirun_core import Sweep, multirun, multirunAsync

POST = 'echo "$MULTIRUN_ATTEMPT" > part && mv part results.json; '


class Link(LocalTransport):
    """A link to this machine, as if it were another; it breaks when it is told to.

    Attributes:
        calls: how many commands were called.
        broken: which of them, by number: "before" it is begun, "after" its end.
        permanent: whether the far side refuses for good.
    """

    name: ClassVar[str] = "the far side"  # type: ignore[misc]

    def __init__(self, home: Path) -> None:
        self.home = home
        self.calls = 0
        self.broken: dict[int, str] = {}
        self.permanent = False

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - as the base has it
    ) -> Completed:
        number, self.calls = self.calls, self.calls + 1
        error = TransportError(f"call {number} is lost")
        error.permanent = self.permanent
        if self.permanent or self.broken.get(number) == "before":
            raise error
        env = {"HOME": str(self.home), "XDG_CACHE_HOME": "", **(env or {})}
        done = await super().run(
            argv, stdin=stdin, stdout=stdout, cwd=cwd, env=env, timeout=timeout
        )
        if self.broken.get(number) == "after":
            raise error
        return done


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr("multirun_core._runners.scheduler.link._PAUSE_SECONDS", 0.05)
    home = tmp_path / f"home {HOSTILE}"
    home.mkdir()
    return Link(home)


def runner_on(link: Link, tmp_path: Path, **options: Any) -> QueueRunner:
    more = options.pop("more", {})
    login = Login(name="far", connect=lambda: link, **more)
    return QueueRunner(tmp_path / "queue", login=login, **options)


def call(tmp_path: Path, runner: QueueRunner, script: str, count: int = 2, **more: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=["sh", "-c", script],
        output_path=tmp_path / HOSTILE,
        runner=runner,
        progress=False,
        resume=True,
        **more,
    )


def executions(tmp_path: Path) -> Counter[str]:
    mark = tmp_path / "executed"
    return Counter(mark.read_text().split()) if mark.exists() else Counter()


def script_for(tmp_path: Path) -> str:
    return f"echo $MULTIRUN_INDEX >> {tmp_path}/executed; " + POST


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("number", range(3, 11))
def test_a_link_that_breaks_at_any_call_loses_nothing_and_executes_nothing_twice(
    number: int, how: str, link: Link, tmp_path: Path
) -> None:
    link.broken[number] = how
    sweep = call(tmp_path, runner_on(link, tmp_path), script_for(tmp_path))
    assert sweep.results == [1, 1], [(run.reason, run.message) for run in sweep.runs]
    assert executions(tmp_path) == {"0": 1, "1": 1}
    assert link.calls > number
    assert not list((link.home / ".cache" / "multirun").iterdir())


def test_one_that_is_out_for_many_calls_changes_nothing(link: Link, tmp_path: Path) -> None:
    link.broken = dict.fromkeys(range(5, 11), "before")
    sweep = call(tmp_path, runner_on(link, tmp_path), script_for(tmp_path))
    assert sweep.results == [1, 1]
    assert executions(tmp_path) == {"0": 1, "1": 1}


@pytest.mark.parametrize("number", range(3, 10, 2))
def test_a_login_that_refuses_for_good_stops_the_sweep_which_goes_on_later(
    number: int, link: Link, tmp_path: Path
) -> None:
    script = script_for(tmp_path)

    class Refusing(Link):
        async def run(self, *args: Any, **more: Any) -> Completed:
            self.permanent = self.calls >= number
            return await super().run(*args, **more)

    refusing = Refusing(link.home)
    with pytest.raises(BackendError, match="resume the sweep later"):
        call(tmp_path, runner_on(refusing, tmp_path), script)
    sweep = call(tmp_path, runner_on(link, tmp_path), script)
    assert sweep.results == [1, 1]
    assert executions(tmp_path) == {"0": 1, "1": 1}
    assert [run.attempts for run in sweep.runs] == [1, 1]


def test_one_that_stays_away_is_not_waited_for_for_ever(link: Link, tmp_path: Path) -> None:
    link.broken = dict.fromkeys(range(6, 10_000), "before")
    with pytest.raises(BackendError, match="out of reach for"):
        call(tmp_path, runner_on(link, tmp_path, more={"patience": 1.0}), script_for(tmp_path))
    link.broken.clear()
    sweep = call(tmp_path, runner_on(link, tmp_path), script_for(tmp_path))
    assert sweep.results == [1, 1]
    assert executions(tmp_path) == {"0": 1, "1": 1}


def test_only_what_is_asked_for_comes_back_and_copies_may_stay(link: Link, tmp_path: Path) -> None:
    more = {"fetch": ["*.dat"], "keep": True}
    script = "echo 1 > a.dat; echo 1 > big; " + POST
    sweep = call(tmp_path, runner_on(link, tmp_path, more=more), script, 1)
    (run,) = sweep.runs
    assert sweep.results == [1]
    assert (run.cwd / "a.dat").exists()
    assert not (run.cwd / "big").exists()
    (kept,) = (link.home / ".cache" / "multirun").glob("*/runs/*/big")
    assert kept.read_text() == "1\n"


def test_an_attempt_does_not_see_what_an_orphan_of_an_earlier_one_writes(
    link: Link, tmp_path: Path
) -> None:
    script = f'test "$MULTIRUN_ATTEMPT" = 2 || exit 3; pwd > where; {POST}'
    sweep = call(tmp_path, runner_on(link, tmp_path, retries=1), script, 1)
    (run,) = sweep.runs
    assert run.attempts == 2
    assert sweep.results == [2]
    assert ".2-" in (run.cwd / "where").read_text()


def test_an_input_that_is_not_there_fails_its_run_alone(link: Link, tmp_path: Path) -> None:
    target = tmp_path / "here only"
    target.write_text("x")

    class Hiding(Link):
        async def run(self, argv: Sequence[str], **more: Any) -> Completed:
            if "receive" in argv and target.exists():
                target.unlink()
            return await super().run(argv, **more)

    from multirun_core import FileResource

    sweep = call(
        tmp_path,
        runner_on(Hiding(link.home), tmp_path),
        POST,
        input_files=[FileResource(target, linkage="link")],
    )
    assert [run.reason for run in sweep.runs] == ["staging", "staging"]
    assert "does not exist on far" in str(sweep.runs[0].message)


def test_what_this_disk_refuses_fails_its_run_alone(link: Link, tmp_path: Path) -> None:
    deep = "import os; [(os.mkdir('d' * 250), os.chdir('d' * 250)) for _ in range(16)]"
    go = tmp_path / "go"
    together = f"touch {go}-{{n}}; until test -e {go}-0 -a -e {go}-1; do sleep 0.05; done; "
    python = f'"{sys.executable}" -S -c "{deep}"'
    script = f"test {{n}} = 1 || {python}; " + together + POST
    sweep = call(tmp_path, runner_on(link, tmp_path), script)
    assert [run.status for run in sweep.runs] == ["failure", "success"]
    assert "its files could not be fetched from far: [Errno 36]" in str(sweep.runs[0].message)


def test_a_login_that_hangs_is_not_waited_for_when_asked_twice(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haste, "_HURRIED_SECONDS", 0.2)
    reached = asyncio.Event()

    class Hanging(Link):
        async def run(self, argv: Sequence[str], **more: Any) -> Completed:
            if "leave" in argv:
                reached.set()
                await asyncio.Event().wait()
            return await super().run(argv, **more)

    runner = runner_on(Hanging(link.home), tmp_path)

    async def work() -> None:
        sweep = asyncio.ensure_future(
            multirunAsync(
                runs=[{}],
                cmd=["sh", "-c", POST],
                output_path=tmp_path / "s",
                runner=runner,
                progress=False,
            )
        )
        await reached.wait()
        runner.hurry()
        await asyncio.wait([sweep], timeout=10)
        assert sweep.done()
        assert (await sweep).results == [1]

    run_bounded(work(), 60)


def test_what_cannot_be_removed_over_there_is_told(
    link: Link, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Link):
        async def run(self, argv: Sequence[str], **more: Any) -> Completed:
            if "leave" in argv:
                return Completed(1, b"", b"rm: cannot remove it: Read-only file system\n")
            return await super().run(argv, **more)

    sweep = call(tmp_path, runner_on(Full(link.home), tmp_path), POST, 1)
    assert sweep.results == [1]
    assert "stays there: rm: cannot remove it: Read-only file system" in caplog.text


@pytest.mark.asyncio
async def test_what_was_to_be_asked_is_given_up_with_what_is_being_asked() -> None:
    asked = asyncio.Event()

    async def answer(questions: Sequence[int]) -> Sequence[int]:
        asked.set()
        return (await asyncio.Event().wait() and questions) or []

    gathering: Gathering[int, int] = Gathering(answer, most=1)
    asking = [asyncio.create_task(gathering.ask(number)) for number in range(2)]
    await asked.wait()  # about the first one
    await gathering.close()
    await asyncio.wait(asking, timeout=10)
    assert [one.cancelled() for one in asking] == [True, True]
