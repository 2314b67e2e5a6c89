"""Carrying staged run directories to another machine and back, by GNU's tar and busybox's."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from multirun_core._staging import mirror_streams
from multirun_core._staging.mirror import Fetched, Mirror, MirrorError, Parcel, Stores
from multirun_core._staging.mirror_unpack import Inflow, Unpacker
from multirun_core._transport.base import Completed, Sink, Source
from multirun_core._transport.local import LocalTransport
from multirun_core.errors import StagingError, TransportError, TransportTimeoutError
from staging_help import HOSTILE, Sweep

from multirun_core import FileResource


class Far(LocalTransport):
    """A machine with a home of its own, whose programs are GNU's or busybox's."""

    def __init__(self, home: Path, programs: Path | None) -> None:
        home.mkdir(exist_ok=True)
        self.env = {"HOME": str(home), "XDG_CACHE_HOME": "", "LC_ALL": "C"}
        if programs is not None:
            self.env["PATH"] = f"{programs}:{os.environ['PATH']}"
        self.sent = 0
        self.received = b""  # the stream that runs came in last
        self.commands: list[str] = []
        self.cut_after: int | None = None

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - as in its base
    ) -> Completed:
        self.commands.append(argv[4])

        async def count() -> object:
            if isinstance(stdin, bytes):
                if argv[4] == "receive":
                    self.received = stdin
                self.sent += len(stdin)
                yield stdin
            else:
                async for block in stdin:
                    self.sent += len(block)
                    yield block

        hear = stdout
        if stdout is not None and self.cut_after is not None:
            left = self.cut_after

            async def hear(block: bytes) -> None:
                nonlocal left
                await stdout(block[:left])
                left -= len(block)
                if left <= 0:
                    raise TransportError("the cable was cut")

        return await super().run(
            argv, stdin=count(), stdout=hear, cwd=cwd, env={**self.env, **(env or {})},
            timeout=timeout,
        )  # fmt: skip


@pytest.fixture(params=["gnu", "busybox"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    programs = None
    if request.param == "busybox":
        busybox = shutil.which("busybox")
        assert busybox, "these tests need busybox: apt-get install busybox"
        programs = tmp_path / "programs"
        programs.mkdir()
        for name in (
            "sh",
            "tar",
            "find",
            "cp",
            "mv",
            "rm",
            "mkdir",
            "ls",
            "cmp",
            "chmod",
            "cat",
            "head",
            "mkfifo",
            "ln",
            "touch",
            "sha256sum",
        ):
            (programs / name).symlink_to(busybox)
    return Far(tmp_path / "far home", programs)


async def opened(far: Far, stores: Stores | None = None) -> Mirror:
    mirror = Mirror(far, stores or Stores(), place="", name="study-1")
    await mirror.open()
    return mirror


def everything(*_: object) -> bool:
    return True


async def send(mirror: Mirror, *runs: Path, then: Sequence[str] = ()) -> list[Path]:
    parcels = [Parcel(run, f"d-h1/{run.name}.1") for run in runs]
    _, missing = await mirror.send(parcels, then)
    assert missing == {}
    return [Path(mirror.base, parcel.name) for parcel in parcels]


async def fetch(mirror: Mirror, *runs: Path, patterns: Sequence[str] | None = None) -> Fetched:
    wanted = {f"{run.name}.1": run for run in runs}
    return await mirror.fetch(f"{mirror.base}/d-h1", wanted, patterns, everything)


def tree(path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for place in sorted(path.rglob("*")):
        if place.is_symlink():
            found[str(place.relative_to(path))] = place.readlink()
        elif place.is_file():
            found[str(place.relative_to(path))] = place.read_bytes()
    return found


def test_a_staged_directory_arrives_with_all_its_inputs(tmp_path: Path, far: Far) -> None:
    for name in HOSTILE:
        (tmp_path / f"in {name}").write_text(name.encode(errors="surrogateescape").hex())
    folder = tmp_path / "folder"
    (folder / "deep er").mkdir(parents=True)
    (folder / "deep er" / "file").write_bytes(os.urandom(40_000))
    (folder / "inner").symlink_to("deep er/file")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3 << 20))
    big.chmod(0o755)
    outside = tmp_path / "out side"
    outside.write_text("outside")
    sweep = Sweep(
        tmp_path / "s",
        *(FileResource(tmp_path / f"in {name}", "copy") for name in HOSTILE),
        *(FileResource(tmp_path / f"in {n}", "shared", rename=f"sub/{n}") for n in HOSTILE[:9]),
        FileResource(folder, "copy", rename="c opy"),
        FileResource(folder, "shared", rename="a/b/shared"),
        FileResource(big, "copy"),
        FileResource(outside, "link", rename="a/link"),
    )
    here = sweep.stage()

    async def work() -> Path:
        mirror = await opened(far)
        return (await send(mirror, here))[0]

    there = asyncio.run(work())
    for place in here.rglob("*"):
        copied = there / place.relative_to(here)
        assert copied.is_symlink() == place.is_symlink(), place
        if place.is_file():
            assert copied.read_bytes() == place.read_bytes(), place
            assert copied.stat().st_mode & 0o100 == place.stat().st_mode & 0o100, place
    assert (there / "a/link").readlink() == outside
    assert os.path.realpath(there / "a/b/shared").startswith(os.path.realpath(far.env["HOME"]))
    assert stat.S_IMODE((there.parent.parent).stat().st_mode) == 0o700


def test_what_goes_there_lacks_no_directory(tmp_path: Path, far: Far) -> None:
    """One that two streams at the same time would have to make is too much for GNU's tar."""
    sweep = Sweep(tmp_path / "s", FileResource(__file__, rename="deep/er/file"))
    runs = [sweep.stage(index=index) for index in range(2)]

    async def work() -> None:
        mirror = await opened(far)
        parcels = [Parcel(run, f"d-h1/{run.name}.1", {"of/its own/order": b"x"}) for run in runs]
        await mirror.send(parcels)

    asyncio.run(work())
    seen = set[str]()
    with tarfile.open(fileobj=io.BytesIO(far.received)) as archive:
        for member in archive:
            name, _, _ = member.name.rpartition("/")
            assert name in {"", *seen}
            seen |= {member.name} if member.isdir() else set()
    assert {"d-h1", "d-h1/000001.1/deep/er", "d-h1/000001.1/of/its own"} <= seen


def test_what_runs_share_is_sent_once_for_each_file_system(tmp_path: Path, far: Far) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20))
    sweep = Sweep(tmp_path / "s", FileResource(big), FileResource(big, "copy", rename="mine"))
    runs = [sweep.stage(index=index) for index in range(6)]
    other = Far(tmp_path / "far home", None)  # another machine with the same home

    async def work() -> None:
        stores = Stores()
        first, second = await opened(far, stores), await opened(other, stores)
        assert first.mark == second.mark
        await asyncio.gather(send(first, *runs[:2]), send(first, runs[2]), send(second, *runs[3:5]))
        again = await opened(far)  # a driver that knows nothing
        assert not again.furnished(runs[5:])
        await again.furnish(runs[5:])
        assert again.furnished(runs[5:])
        await send(again, runs[5])

    asyncio.run(work())
    assert 1 << 20 <= far.sent + other.sent < (1 << 20) + 400_000  # by two names, too
    for run in runs:
        there = next(Path(far.env["HOME"]).rglob(f"{run.name}.1"))
        assert (there / "big").read_bytes() == (there / "mine").read_bytes() == big.read_bytes()
    mine = next(Path(far.env["HOME"]).rglob("000000.1/mine"))
    mine.write_bytes(b"changed")
    first = next(Path(far.env["HOME"]).rglob("000000.1/big"))
    first.write_bytes(b"changed")  # through the link, as a program may
    others = next(Path(far.env["HOME"]).rglob("000001.1/mine"))
    stored = next(Path(far.env["HOME"]).rglob("shared/*/mine"))
    assert stored.read_bytes() == others.read_bytes() == big.read_bytes()


def test_inputs_may_go_there_before_anything_of_a_run(tmp_path: Path, far: Far) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(2 << 20))
    runs = [Sweep(tmp_path / "s", FileResource(data)).stage(index=index) for index in range(2)]
    plain = Sweep(tmp_path / "t").stage()

    async def work() -> None:
        mirror = await opened(far)
        assert mirror.furnished([plain])
        assert not mirror.furnished([plain, *runs])
        await mirror.furnish(runs)
        assert mirror.furnished([plain, *runs])
        (held,) = Path(mirror.base, "shared").iterdir()
        assert (held / "data").read_bytes() == data.read_bytes()
        before = far.sent
        await send(mirror, *runs)
        assert far.sent - before < 20_000

    asyncio.run(work())


def test_a_new_set_of_inputs_is_another_one_there(tmp_path: Path, far: Far) -> None:
    data = tmp_path / "data"
    data.write_text("old")
    first = Sweep(tmp_path / "s", FileResource(data)).stage(index=1)

    async def work() -> list[str]:
        mirror = await opened(far)
        one = await send(mirror, first)
        data.write_text("new")
        second = Sweep(tmp_path / "s", FileResource(data)).stage(index=2)
        two = await send(mirror, second)
        return [(path / "data").read_text() for path in one + two]

    assert asyncio.run(work()) == ["old", "new"]


def data_folder(tmp_path: Path) -> Path:
    """Return a folder with large files, whose names are hard."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(HOSTILE):
        (folder / name).write_bytes(os.urandom(100_000))
        os.utime(folder / name, (1_000_000_000 + number, 1_000_000_000 + number))
    return folder


@pytest.mark.parametrize("driver", ["the same", "a new one"])
def test_of_a_new_set_only_what_is_new_is_sent(tmp_path: Path, far: Far, driver: str) -> None:
    folder = data_folder(tmp_path)
    runs = [Sweep(tmp_path / "s", folder).stage(index=1)]
    (folder / HOSTILE[0]).write_bytes(os.urandom(100_000))  # changed
    (folder / HOSTILE[1]).rename(folder / "re named")
    (folder / HOSTILE[2]).chmod(0o755)
    os.utime(folder / HOSTILE[3], (0, 1_700_000_000))
    shutil.copy(folder / HOSTILE[4], folder / "a second")
    again = FileResource(folder, "copy", rename="again")
    runs.append(Sweep(tmp_path / "s", folder, again).stage(index=2))
    sent: list[int] = []

    async def work() -> Path:
        stores = Stores()
        for run in runs:
            far.sent = 0
            (there,) = await send(await opened(far, stores), run)
            sent.append(far.sent)
            stores = stores if driver == "the same" else Stores()
        return there

    there = asyncio.run(work())
    size = len(HOSTILE) * 100_000
    assert size < sent[0] < size + 60_000
    assert 100_000 < sent[1] < 100_000 + 60_000
    for name in ("data", "again"):
        assert tree(there / name) == tree(folder)
        for place in folder.iterdir():
            found = (there / name / place.name).stat()
            assert found.st_mode & 0o100 == place.stat().st_mode & 0o100, place
            assert int(found.st_mtime) == int(place.stat().st_mtime), place


@pytest.mark.parametrize("how", ["changed", "gone", "a pipe", "it cannot be told"])
def test_what_a_run_did_to_a_file_through_its_link_does_not_spread(
    tmp_path: Path, far: Far, how: str
) -> None:
    folder = data_folder(tmp_path)
    spoilt = HOSTILE[5]
    runs = [Sweep(tmp_path / "s", folder).stage(index=1)]
    (folder / HOSTILE[0]).write_bytes(os.urandom(100_000))
    shutil.copy2(folder / spoilt, folder / "a second")
    runs.append(Sweep(tmp_path / "s", folder).stage(index=2))
    sent = 0

    async def work() -> Path:
        nonlocal sent
        mirror = await opened(far)
        (first,) = await send(mirror, runs[0])
        place = first / "data" / spoilt
        if how == "changed":
            place.write_bytes(os.urandom(100_000))
        elif how == "it cannot be told":
            tools = tmp_path / "tools"
            tools.mkdir()
            (tools / "sha256sum").write_text("#!/bin/sh\nexit 127\n")
            (tools / "sha256sum").chmod(0o755)
            far.env["PATH"] = f"{tools}:{far.env.get('PATH', os.environ['PATH'])}"
        else:
            place.unlink()
            if how == "a pipe":
                os.mkfifo(place)
        far.sent = 0
        (second,) = await send(mirror, runs[1])
        sent = far.sent
        return second

    second = asyncio.run(work())
    assert tree(second / "data") == tree(folder)
    count = len(HOSTILE) if how == "it cannot be told" else 2
    assert count * 100_000 < sent < count * 100_000 + 60_000
    left = {path.name for path in (second.parents[1] / "shared").iterdir()}
    assert len(left) == 2
    assert not any(name.startswith(".") for name in left)


def test_large_files_of_runs_that_are_the_same_are_sent_once(tmp_path: Path, far: Far) -> None:
    """As an input is that is made from a template, and does not depend on what is swept."""
    content, single = os.urandom(200_000), os.urandom(200_000)
    runs = [Sweep(tmp_path / "s").stage(index=index) for index in range(6)]
    for number, run in enumerate(runs):
        (run / "own file").write_bytes(content)
        (run / "own file").chmod(0o755 if number % 2 else 0o644)
        (run / "small").write_bytes(b"small" * 100)
    (runs[1] / "its own").write_bytes(single)

    async def work() -> list[Path]:
        mirror = await opened(far)
        places = await send(mirror, *runs[:3])
        places += await send(mirror, *runs[3:5])
        again = await opened(far)  # a driver that knows nothing
        places += await send(again, runs[5])
        return places

    there = asyncio.run(work())
    assert 400_000 < far.sent < 400_000 + 80_000
    assert [path.stat().st_size for path in there[0].parents[1].glob("shared/*")] == [200_000]
    for place, run in zip(there, runs, strict=True):
        assert tree(place) == tree(run)
        mode = (place / "own file").stat().st_mode
        assert mode & 0o100 == (run / "own file").stat().st_mode & 0o100
    (there[0] / "own file").write_bytes(b"changed")
    assert (there[1] / "own file").read_bytes() == content


def test_a_large_file_of_a_run_is_held_there_once_a_second_run_has_it(
    tmp_path: Path, far: Far
) -> None:
    runs = [Sweep(tmp_path / "s").stage(index=index) for index in range(4)]
    content = os.urandom(200_000)
    for run in runs:
        (run / "own").write_bytes(content)

    async def work() -> None:
        mirror = await opened(far)
        for run in runs:
            (there,) = await send(mirror, run)
            assert (there / "own").read_bytes() == content
            (there / "own").write_bytes(b"changed")
            await mirror.remove(f"{mirror.base}/d-h1", [there.name])

    asyncio.run(work())
    assert 400_000 < far.sent < 400_000 + 60_000


def test_a_link_must_be_good_over_there(tmp_path: Path, far: Far) -> None:
    target = tmp_path / "tar get"
    target.write_text("x")
    runs = [
        Sweep(tmp_path / "s", FileResource(target, "link")).stage(index=index) for index in (1, 2)
    ]

    async def work() -> dict[str, list[str]]:
        mirror = await opened(far)
        target.unlink()
        parcels = [Parcel(runs[0], "d/000001.1"), Parcel(runs[1], "d/000002.1")]
        return (await mirror.send(parcels))[1]

    assert asyncio.run(work()) == {"d/000001.1": [str(target)], "d/000002.1": [str(target)]}


WORK = """
for run; do (
    cd "$run" || exit
    echo out >stdout.txt
    mkdir -p 'new dir' && echo new >"new dir/a
b"
    echo more >>copied
    echo '{"n": 1}' >results.json
    ln -s 'new dir' link
    ln results.json hard
    mkdir -p .multirun/claim-1
) done
"""


def test_what_is_new_or_changed_comes_back(tmp_path: Path, far: Far) -> None:
    small, same = tmp_path / "small", tmp_path / "same[1]*"
    small.write_text("small\n")
    same.write_bytes(os.urandom(1 << 20))
    inputs = [
        FileResource(small, "copy", rename="copied"),
        FileResource(same, "copy"),
        FileResource(small),
        FileResource(tmp_path, "link", rename="out/side"),
    ]
    sweep = Sweep(tmp_path / "s", *inputs)
    runs = [sweep.stage(index=index) for index in (1, 2)]
    received = 0

    async def work() -> None:
        nonlocal received
        mirror = await opened(far)
        places = await send(mirror, *runs, then=["sh", "-c", WORK, "sh", *names(runs)])
        before = [tree(run) for run in runs]
        seen: list[int] = []
        plain = mirror.transport.run

        async def counted(*args: object, stdout: Sink | None = None, **keywords: object) -> object:
            async def hear(block: bytes) -> None:
                seen.append(len(block))
                await stdout(block)  # type: ignore[misc]

            return await plain(*args, stdout=hear if stdout else None, **keywords)  # type: ignore

        mirror.transport.run = counted  # type: ignore[assignment]
        assert await fetch(mirror, *runs) == Fetched()
        received = sum(seen)
        for run, old in zip(runs, before, strict=True):
            new = tree(run)
            assert new.pop("new dir/a\nb") == b"new\n"
            assert new.pop("results.json") == new.pop("hard") == b'{"n": 1}\n'
            assert new.pop("link") == Path("new dir")
            assert new.pop("stdout.txt") == b"out\n"
            assert new.pop("copied") == b"small\nmore\n"
            old.pop("copied")
            assert new == old
        await mirror.remove(f"{mirror.base}/d-h1", [place.name for place in places])
        assert not any(place.exists() for place in places)

    asyncio.run(work())
    assert received < 200_000  # a copy that nobody changed stayed there


def names(runs: Sequence[Path]) -> list[str]:
    return [f"d-h1/{run.name}.1" for run in runs]


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["*.csv"], {"a b.csv", "deep/c.csv"}),
        (["deep"], {"deep/c.csv", "deep/d.bin"}),
        (["deep/*.bin", "no such"], {"deep/d.bin"}),
        ([], set()),
    ],
)
def test_only_what_is_asked_for_comes_back(
    tmp_path: Path, far: Far, patterns: list[str], wanted: set[str]
) -> None:
    run = Sweep(tmp_path / "s").stage()
    script = (
        "cd d-h1/000042.1 && mkdir deep && touch 'a b.csv' big deep/c.csv deep/d.bin stdout.txt "
        "results.json .multirun-not"
    )

    async def work() -> None:
        mirror = await opened(far)
        await send(mirror, run, then=["sh", "-c", script])
        assert await fetch(mirror, run, patterns=patterns) == Fetched()

    asyncio.run(work())
    always = {"params.json", "stdout.txt", "results.json"}
    assert set(tree(run)) == wanted | always


def test_a_stream_that_breaks_leaves_everything_as_it_was(tmp_path: Path, far: Far) -> None:
    run = Sweep(tmp_path / "s").stage()

    async def work() -> None:
        mirror = await opened(far)
        script = "cd d-h1/000042.1; head -c 3000000 /dev/urandom > a; echo changed > params.json"
        await send(mirror, run, then=["sh", "-c", script])
        before = tree(run)
        for cut in (1, 512, 700, 1_000_000, 2_900_000):
            far.cut_after = cut
            with pytest.raises(TransportError, match="cable"):
                await fetch(mirror, run)
            assert tree(run) == before
        far.cut_after = None
        assert await fetch(mirror, run) == Fetched()

    asyncio.run(work())
    assert (run / "a").stat().st_size == 3_000_000


def test_nothing_is_put_over_what_a_later_attempt_wrote(tmp_path: Path, far: Far) -> None:
    runs = [Sweep(tmp_path / "s").stage(index=index) for index in (1, 2)]

    async def work() -> None:
        mirror = await opened(far)
        await send(mirror, *runs, then=["sh", "-c", WORK, "sh", *names(runs)])
        wanted = {f"{run.name}.1": run for run in runs}
        await mirror.fetch(f"{mirror.base}/d-h1", wanted, None, lambda name: name == "000002.1")

    asyncio.run(work())
    assert set(tree(runs[0])) == {"params.json"}
    assert (runs[1] / "results.json").exists()


def test_links_are_never_followed_when_files_come_back(tmp_path: Path, far: Far) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    sweep = Sweep(tmp_path / "s", FileResource(victim, "link"), FileResource(victim, rename="s"))
    run = sweep.stage()
    script = """
    cd d-h1/000042.1
    for name in victim s; do rm $name && mkdir $name && echo evil > $name/file; done
    ln -s /etc absolute; ln -s ../../.. up; ln -s . round; mkfifo pipe
    """

    async def work() -> Fetched:
        mirror = await opened(far)
        await send(mirror, run, then=["sh", "-c", script])
        return await fetch(mirror, run)

    fetched = asyncio.run(work())
    assert fetched.failed == {}
    notes = fetched.notes["000042.1"]
    assert (victim / "file").read_text() == "precious"
    assert (sweep.root / "shared/1/s/file").read_text() == "precious"
    assert (run / "victim/file").read_text() == (run / "s/file").read_text() == "evil\n"
    assert not (run / "absolute").is_symlink()
    assert not (run / "up").is_symlink()
    assert sorted(text.split("'")[1] for text in notes) == ["absolute", "pipe", "up"]


def test_a_directory_that_its_program_locked_or_removed(tmp_path: Path, far: Far) -> None:
    runs = [Sweep(tmp_path / "s").stage(index=index) for index in (1, 2, 3)]
    script = """
    cd d-h1 && rm -rf 000001.1 && touch 000002.1/a 000003.1/a && mkdir 000002.1/b
    chmod 000 000002.1/a 000002.1/b 000002.1
    """

    async def work() -> Fetched:
        mirror = await opened(far)
        await send(mirror, *runs, then=["sh", "-c", script])
        fetched = await fetch(mirror, *runs)
        await mirror.remove(f"{mirror.base}/d-h1", [f"{run.name}.1" for run in runs])
        assert list(Path(mirror.base, "d-h1").iterdir()) == []
        return fetched

    assert asyncio.run(work()) == Fetched()
    assert [(run / "a").exists() for run in runs] == [False, True, True]


def test_a_refusal_over_there_is_told(tmp_path: Path, far: Far) -> None:
    run = Sweep(tmp_path / "s").stage()

    async def work() -> None:
        mirror = await opened(far)
        shutil.rmtree(mirror.base)
        await send(mirror, run)

    with pytest.raises(MirrorError, match="study-1"):
        asyncio.run(work())


def test_the_place_is_below_the_home_directory_unless_it_is_absolute(tmp_path: Path) -> None:
    far = Far(tmp_path / "home", None)

    async def base(place: str, **env: str) -> str:
        far.env.update(env)
        mirror = Mirror(far, Stores(), place=place, name="study")
        await mirror.open()
        return mirror.base

    async def work() -> None:
        home = far.env["HOME"]
        assert await base("") == f"{home}/.cache/multirun/study"
        assert await base("~/a b") == f"{home}/a b/study"
        assert await base("c") == f"{home}/c/study"
        assert await base(f"{tmp_path}/-d") == f"{tmp_path}/-d/study"
        assert await base("", XDG_CACHE_HOME=f"{tmp_path}/x") == f"{tmp_path}/x/multirun/study"

    asyncio.run(work())


@pytest.mark.parametrize("whose", ["another user's", "open to others", "a link"])
def test_a_directory_that_others_could_have_made_is_not_used(
    tmp_path: Path, far: Far, whose: str
) -> None:
    """What lies there is executed."""
    there = Path(far.env["HOME"], ".cache/multirun/study-1")
    there.parent.mkdir(parents=True)
    if whose == "a link":
        there.symlink_to(tmp_path)
    else:
        there.mkdir(mode=0o700)
    if whose == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root may give a directory away")
        os.chown(there, 65534, 65534)
    elif whose == "open to others":
        there.chmod(0o770)
    before = sorted(there.iterdir())
    with pytest.raises(MirrorError, match=r"study-1 cannot be used: .*other user"):
        asyncio.run(opened(far))
    assert sorted(there.iterdir()) == before


def test_a_mark_that_was_never_written_is_made_good(tmp_path: Path, far: Far) -> None:
    there = Path(far.env["HOME"], ".cache/multirun/study-1")
    there.mkdir(mode=0o700, parents=True)
    (there / "mark").touch()  # as a machine that broke down left it

    async def work() -> set[str]:
        mirrors = await asyncio.gather(*(opened(far) for _ in range(6)))
        return {mirror.mark for mirror in mirrors}

    asyncio.run(work())
    (mark,) = asyncio.run(work())
    assert mark
    assert sorted(path.name for path in there.iterdir()) == ["mark", "shared"]


def test_machines_with_one_home_that_come_at_once_agree(tmp_path: Path, far: Far) -> None:
    async def work() -> set[str]:
        mirrors = await asyncio.gather(*(opened(far) for _ in range(6)))
        return {mirror.mark for mirror in mirrors}

    assert len(asyncio.run(work())) == 1
    there = Path(far.env["HOME"], ".cache/multirun/study-1")
    assert sorted(path.name for path in there.iterdir()) == ["mark", "shared"]


def test_a_thousand_small_files_travel_together(tmp_path: Path, far: Far) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number}").write_text(f"{number}")
    runs = [Sweep(tmp_path / "s", folder).stage(index=index) for index in range(2)]
    for number in range(500):
        for run in runs:
            (run / f"own {number}").write_text(f"{run.name} {number}")

    async def work() -> list[Path]:
        return await send(await opened(far), *runs)

    there = asyncio.run(work())
    assert far.commands == ["open", "store", "receive"]
    for run, place in zip(runs, there, strict=True):
        for number in (0, 499):
            assert (place / f"own {number}").read_text() == f"{run.name} {number}"
        assert sum(1 for _ in place.glob("own *")) == 500
        assert sum(1 for _ in place.glob("many/*")) == 1000


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, to, 0o777
    made.size = 4 if kind == tarfile.REGTYPE else 0
    return made


OUTWARD = [
    member("a/../../victim"),
    member("a/../results.json"),
    member("a/../../b/file"),
    member("./a/./../../b/file"),
    member("a/deep/../../../b/file"),
    member("../victim"),
    member("/etc/multirun-evil"),
    member("b/../a/file"),
    member("stranger/file"),
    member(".."),
    member("a/.."),
    member("a/up", tarfile.SYMTYPE, ".."),
    member("a/round", tarfile.SYMTYPE, "."),
    member("a/round/../../b/file"),
    member("a/hard 1", tarfile.LNKTYPE, "/etc/passwd"),
    member("a/hard 2", tarfile.LNKTYPE, "a/../../../victim"),
    member("a/hard 3", tarfile.LNKTYPE, "b/file"),
    member("a/hard 4", tarfile.LNKTYPE, "a/../params.json"),
    member("a/hard 5", tarfile.LNKTYPE, "../victim"),
    member("a/device", tarfile.CHRTYPE),
    member("a/.multirun/order"),
]


def test_a_stream_that_wants_to_get_out_does_not(tmp_path: Path) -> None:
    """A host that somebody else is the master of sends what it likes."""
    runs = {name: tmp_path / "s" / "runs" / name for name in ("a", "b")}
    for run in runs.values():
        run.mkdir(parents=True)
        (run / "params.json").write_text("{}")
    (runs["b"] / "file").write_text("of b")
    (tmp_path / "s/runs/victim").write_text("precious")
    before = tree(tmp_path)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for one in [*OUTWARD, member("a/fine")]:
            archive.addfile(one, io.BytesIO(b"evil"[: one.size]))
    unpacker = Unpacker({name: str(path) for name, path in runs.items()})
    inflow = Inflow()
    asyncio.run(inflow.put(stream.getvalue()))
    inflow.end()
    unpacker.unpack(inflow)
    unpacker.settle(runs)
    after = tree(tmp_path)
    assert after.pop("s/runs/a/fine") == b"evil"
    assert after.pop("s/runs/a/round") == Path()
    assert after == before
    assert not Path("/etc/multirun-evil").exists()
    assert len(unpacker.problems["a"]) == 14


@pytest.mark.asyncio
async def test_a_set_that_could_not_be_read_once_is_read_again(tmp_path: Path) -> None:
    stores = Stores()
    with pytest.raises(StagingError, match="vanished"):
        await stores.stored(tmp_path, 1)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "file").write_text("there it is")
    assert len((await stores.stored(tmp_path, 1)).key) == 32


@pytest.mark.asyncio
async def test_what_moves_too_late_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_streams, "STALL_SECONDS", 0.01)

    async def move_late() -> None:
        async with mirror_streams.stalling() as moved:
            try:
                await asyncio.sleep(60)
            finally:
                moved()

    with pytest.raises(TransportTimeoutError, match="nothing has moved"):
        await move_late()


@pytest.mark.asyncio
async def test_fetching_that_is_cancelled_at_its_end_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked, go_on = asyncio.Event(), threading.Event()
    loop, unpack = asyncio.get_running_loop(), Unpacker.unpack

    def slowly(unpacker: Unpacker, stream: Inflow) -> None:
        unpack(unpacker, stream)
        loop.call_soon_threadsafe(unpacked.set)
        assert go_on.wait(30)

    monkeypatch.setattr(Unpacker, "unpack", slowly)
    mirror = await opened(Far(tmp_path / "far home", None))
    (run := tmp_path / "s" / "runs" / "000001").mkdir(parents=True)
    (there := Path(mirror.base) / "d" / run.name).mkdir(parents=True)
    (there / "new").write_text("came back")
    wanted = {run.name: run}
    fetching = asyncio.create_task(mirror.fetch(str(there.parent), wanted, None, everything))
    await unpacked.wait()
    assert list(run.iterdir())
    fetching.cancel()
    go_on.set()
    await asyncio.wait([fetching], timeout=30)
    assert fetching.cancelled()
    assert list(run.iterdir()) == []


class Together(LocalTransport):
    """A machine whose streams end only when those of others have come, too."""

    def __init__(self, all_have_come: asyncio.Barrier) -> None:
        self.all_have_come = all_have_come

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - as in its base
    ) -> Completed:
        done = await super().run(
            argv, stdin=stdin, stdout=stdout, cwd=cwd, env=env, timeout=timeout
        )
        if argv[4] == "pack":
            await self.all_have_come.wait()
        return done


@pytest.mark.asyncio
async def test_what_comes_from_many_machines_at_once_is_unpacked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few threads others have; else a stream would seem to stand still."""
    monkeypatch.setattr(mirror_streams, "STALL_SECONDS", 10.0)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    count, stores, barrier = 5, Stores(), asyncio.Barrier(5)
    fetches: list[Awaitable[Fetched]] = []
    for number in range(count):
        mirror = Mirror(Together(barrier), stores, place=str(tmp_path / "far"), name=f"{number}")
        await mirror.open()
        (run := tmp_path / "s" / "runs" / f"00000{number}").mkdir(parents=True)
        (there := Path(mirror.base) / "d" / run.name).mkdir(parents=True)
        (there / "new").write_bytes(bytes(6 << 20))
        fetches.append(mirror.fetch(str(there.parent), {run.name: run}, None, everything))
    await asyncio.wait_for(asyncio.gather(*fetches), 50)
    found = sorted((tmp_path / "s" / "runs").glob("*/new"))
    assert [path.stat().st_size for path in found] == [6 << 20] * count


@pytest.mark.asyncio
async def test_who_waits_until_others_are_unpacked_does_not_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_streams, "STALL_SECONDS", 0.5)
    stores = Stores()
    stores.unpacking = asyncio.Semaphore(1)
    mirror = Mirror(Far(tmp_path / "home", None), stores, place="", name="study-1")
    await mirror.open()
    (run := tmp_path / "s" / "runs" / "000000").mkdir(parents=True)
    (there := Path(mirror.base) / "d" / run.name).mkdir(parents=True)
    (there / "new").write_text("came back")
    async with stores.unpacking:
        fetching = asyncio.ensure_future(
            mirror.fetch(str(there.parent), {run.name: run}, None, everything)
        )
        await asyncio.wait([fetching], timeout=1.5)
        assert not fetching.done()
    await asyncio.wait_for(fetching, 30)
    assert (run / "new").read_text() == "came back"
