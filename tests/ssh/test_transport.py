"""Commands on real hosts, by either transport: streams, ends, refusals, lost connections."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest
from multirun_core._transport.local import LocalTransport
from multirun_core.errors import TransportError, TransportTimeoutError
from multirun_ssh.connect import Connector
from multirun_ssh.errors import LoginRefusedError
from multirun_ssh.hosts import find_hosts
from multirun_ssh.options import Connecting
from multirun_ssh.transport import SSHTransport
from pools import NASTY, Pool, gone, pool_of, until
from ssh_bed import SSHBed
from ssh_host import USER, Host

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["asyncssh", "openssh"])
def pool(bed: SSHBed, hosts: list[Host], request: pytest.FixtureRequest) -> Pool:
    return Pool(bed, transport=request.param)


def naps(pool: Pool, seconds: str) -> list[str]:
    """Return a command that stays; what one transport has left there is none of the other."""
    return ["sleep", seconds + ("1" if pool.options["transport"] == "openssh" else "0")]


async def test_a_command_runs_there(pool: Pool) -> None:
    async with pool("node1") as (one,):
        done = await one.run(["sh", "-c", "hostname; echo wrong >&2; exit 7"], timeout=30)
        assert (done.code, done.stdout, done.stderr) == (7, b"node1\n", b"wrong\n")
        assert one.connected_in is not None


async def test_words_arrive_as_they_are(pool: Pool) -> None:
    async with pool("node1") as (one,):
        script = 'for word; do printf "%s\\0" "$word"; done; printf "%s\\0" "$MULTIRUN_ODD"'
        for odd in NASTY:
            words = ["sh", "-c", script, "sh", *NASTY]
            done = await one.run(words, env={"MULTIRUN_ODD": odd}, timeout=30)
            assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in [*NASTY, odd])


async def test_a_directory_may_have_any_name(pool: Pool) -> None:
    async with pool("node1") as (one,):
        for name in NASTY:
            place = f"odd/{name.replace('/', '_')[:100]}"
            await one.run(["mkdir", "-p", "--", place], timeout=30)
            done = await one.run(["pwd"], cwd=place, timeout=30)
            assert done.stdout.endswith(b"/" + os.fsencode(place) + b"\n")
        missing = await one.run(["pwd"], cwd="not there", timeout=30)
        assert missing.code != 0
        assert b"not there" in missing.stderr


async def test_streams_are_whole_and_fast_enough(pool: Pool) -> None:
    """Both directions at once, more than any window, to a sink that takes its time."""
    blocks = [os.urandom(2**18) for _ in range(8)]
    total = 40

    async def source() -> AsyncIterator[bytes]:
        for number in range(total):
            yield blocks[number % 8]

    came, size = hashlib.sha256(), 0

    async def sink(block: bytes) -> None:
        nonlocal size
        came.update(block)
        size += len(block)
        await asyncio.sleep(0.002)

    async with pool("node1") as (one,):
        done = await one.run(["cat"], stdin=source(), stdout=sink, timeout=60)
    assert (done.code, done.stdout, size) == (0, b"", total * 2**18)
    sent = hashlib.sha256()
    for number in range(total):
        sent.update(blocks[number % 8])
    assert came.digest() == sent.digest()


async def test_input_that_nobody_reads_holds_nothing_up(pool: Pool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**18)

    async with pool("node1") as (one,):
        done = await one.run(["true"], stdin=endless(), timeout=30)
        assert done.code == 0
        done = await one.run(["wc", "-c"], stdin=bytes(10_000_000), timeout=30)
        assert done.stdout.split() == [b"10000000"]
        done = await one.run(["cat"], timeout=30)
        assert done.stdout == b""


async def test_what_a_source_or_a_sink_raises_is_raised(pool: Pool) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    async def full(block: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with pool("node1") as (one,):
        with pytest.raises(ZeroDivisionError):
            await one.run(["sleep", "4720"], stdin=broken(), timeout=30)
        with pytest.raises(OSError, match="No space left"):
            await one.run(["sh", "-c", "yes; sleep 4720"], stdout=full, timeout=30)
        await gone(pool.bed.hosts["node1"], "4720")


async def test_signals_and_missing_programs_are_told(pool: Pool) -> None:
    async with pool("node1") as (one,):
        ended = await one.run(["sh", "-c", "kill -9 $$"], timeout=30)
        assert ended.code == (-9 if pool.options["transport"] == "asyncssh" else 137)
        missing = await one.run(["no-such-program"], timeout=30)
        assert missing.code == 127
        assert b"no-such-program" in missing.stderr


@pytest.mark.parametrize("user", ["root", pytest.param(USER, marks=pytest.mark.namespaces)])
async def test_time_out_and_cancelling_end_the_command(pool: Pool, user: str) -> None:
    host = pool.bed.hosts["node1"]
    async with pool(pool.login(user, "node1")) as (one,):
        await one.run(["true"], timeout=30)
        with pytest.raises(TransportTimeoutError, match=r"'sh' took longer than 0\.5 s on"):
            await one.run(["sh", "-c", "trap '' TERM; sleep 4721; sleep 4721"], timeout=0.5)
        await gone(host, "4721")
        task = asyncio.create_task(one.run(["sh", "-c", "sleep 4722 & sleep 4722"], timeout=None))
        await until(lambda: len(host.processes("sleep 4722")) >= 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(host, "4722")
        assert (await one.run(["echo", "alive"], timeout=30)).stdout == b"alive\n"


async def test_who_is_cancelled_while_a_command_is_being_ended_is_cancelled(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not told what had gone wrong before: it would go on with something else."""
    ending, go_on = asyncio.Event(), asyncio.Event()
    words = naps(pool, "4730")

    async def broken() -> AsyncIterator[bytes]:
        await until(lambda: pool.bed.hosts["node1"].processes(" ".join(words)))
        raise ZeroDivisionError
        yield b""

    async with pool("node1") as (one,):
        kill = one._kill

        async def slowly(*about: Any) -> None:
            ending.set()
            await go_on.wait()
            await kill(*about)

        monkeypatch.setattr(one, "_kill", slowly)
        task = asyncio.create_task(one.run(words, stdin=broken(), timeout=60))
        await ending.wait()
        task.cancel()
        go_on.set()
        await asyncio.wait([task], timeout=30)
        assert task.cancelled()
        await gone(pool.bed.hosts["node1"], words[1])


async def test_closing_says_what_cancels_it_and_lets_go_of_all(hosts: list[Host]) -> None:
    """Also where connecting takes its time to give up, or fails at that."""
    begun, go_on, left = asyncio.Event(), asyncio.Event(), 0

    class Slow:
        connecting = Connecting()

        def join(self) -> None: ...

        async def leave(self) -> None:
            nonlocal left
            left += 1

        async def connect(self, host: object) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await go_on.wait()
                raise OSError("no more")

    for cancelled in (True, False):
        begun.clear()
        go_on.clear()
        one = SSHTransport(find_hosts("node1")[0], cast("Connector", Slow()))
        running = asyncio.create_task(one.run(["true"], timeout=None))
        await begun.wait()
        closing = asyncio.create_task(one.close())
        await asyncio.sleep(0)
        if cancelled:
            closing.cancel()
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([closing, running], timeout=30)
        assert closing.cancelled() == cancelled
        assert cancelled or closing.exception() is None
        assert isinstance(running.exception(), OSError)
    assert left == 2


async def test_many_commands_share_few_sessions(pool: Pool) -> None:
    pool.bed.hosts["node1"].restart_sshd("MaxSessions 2")
    async with pool("node1") as (one,):
        staying = asyncio.create_task(one.run(["sleep", "4723"], timeout=None))
        commands = [one.run(["sh", "-c", f"exit {code}"], timeout=60) for code in range(60)]
        ends = await asyncio.gather(*commands)
        assert [end.code for end in ends] == list(range(60))
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying


async def test_many_log_in_where_few_may_at_once(pool: Pool) -> None:
    pool.bed.hosts["node1"].restart_sshd("MaxStartups 2:100:4")
    pools = [pool("node1") for _ in range(12)]

    async def one_of(which: pool_of) -> int:
        async with which as (one,):
            return (await one.run(["true"], timeout=60)).code

    assert await asyncio.gather(*map(one_of, pools)) == [0] * 12


async def test_eight_connect_at_once(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd drops some from the tenth on that has not logged in."""
    now: list[None] = []
    most = 0

    def counted(real: Any, begins: Callable[..., bool]) -> Any:
        async def call(*words: Any, **options: Any) -> Any:
            nonlocal most
            if not begins(*words):
                return await real(*words, **options)
            now.append(None)
            most = max(most, len(now))
            try:
                return await real(*words, **options)
            finally:
                now.pop()

        return call

    monkeypatch.setattr(asyncssh, "connect", counted(asyncssh.connect, lambda: True))
    monkeypatch.setattr(
        LocalTransport, "run", counted(LocalTransport.run, lambda this, argv: "-M" in argv)
    )
    config = tmp_path / "thirty names"
    host = pool.bed.hosts["node1"]
    config.write_text(f"Host many*\n  HostName {host.address}\n{pool.bed.ssh_config.read_text()}")
    async with pool("many[1-30]", ssh_config=config) as thirty:
        ends = await asyncio.gather(*(one.run(["true"], timeout=100) for one in thirty))
    assert [end.code for end in ends] == [0] * 30
    assert most == 8


@pytest.mark.long
@pytest.mark.namespaces
async def test_a_silent_host_is_found_within_15_s(pool: Pool) -> None:
    """By default; what nobody expects an answer from is found no later."""
    host = pool.bed.hosts["node1"]
    loop = asyncio.get_running_loop()
    words = naps(pool, "4728")
    async with pool("node1") as (one,):
        staying = asyncio.create_task(one.run(words, timeout=None))
        await until(lambda: host.processes(" ".join(words)))
        host.cut()
        began = loop.time()
        with pytest.raises(TransportError, match="was lost"):
            await staying
        assert loop.time() - began < 15


@pytest.mark.namespaces
async def test_a_silent_host_is_found_and_used_again(pool: Pool) -> None:
    host = pool.bed.hosts["node1"]
    loop = asyncio.get_running_loop()
    words = naps(pool, "4724")
    async with pool("node1", silence_timeout=2, connect_timeout=3) as (one,):
        staying = asyncio.create_task(one.run(words, timeout=None))
        await until(lambda: host.processes(" ".join(words)))
        began = loop.time()
        host.cut()
        with pytest.raises(TransportError, match=r"was lost while 'sleep' ran there; nobody knows"):
            await staying
        assert loop.time() - began < 10
        with pytest.raises(TransportError, match=r"did not let us in within 3 s|timed out"):
            await one.run(["true"], timeout=30)
        host.restore()
        assert (await one.run(["true"], timeout=30)).code == 0
        assert host.processes(" ".join(words))  # it is not the connection's to end


@pytest.mark.parametrize(
    "how", ["drop", pytest.param("reset", marks=pytest.mark.namespaces), "power"]
)
async def test_a_connection_that_dies_is_no_success(pool: Pool, how: str) -> None:
    host = pool.bed.hosts["node1"]
    sleeping = " ".join(naps(pool, {"drop": "4725", "reset": "4726", "power": "4727"}[how]))
    async with pool("node1", silence_timeout=2) as (one,):
        words = ["sh", "-c", f"echo out; {sleeping}"]
        staying = asyncio.create_task(one.run(words, timeout=None))
        await until(lambda: host.processes(sleeping))
        match how:
            case "drop":
                host.restart_sshd(drop=True)
            case "reset":
                host.refuse()
                with pytest.raises(TransportError):
                    await one.run(["true"], timeout=30)
                host.restore()
            case _:
                host.kill()
                host.boot()
        # Whether it was started is not known either where sshd's answer was on its way.
        with pytest.raises(TransportError, match=r"nobody knows (how it ended|whether it was)"):
            await staying
        assert (await one.run(["echo", "back"], timeout=30)).stdout == b"back\n"


@pytest.mark.namespaces
async def test_a_short_cut_loses_nothing(pool: Pool) -> None:
    host = pool.bed.hosts["node1"]
    go = pool.bed.shared / f"a short cut by {pool.options['transport']}"
    words = ["sh", "-c", 'until test -e "$0"; do sleep 0.1; done; echo whole', str(go)]
    async with pool("node1", silence_timeout=60) as (one,):
        running = asyncio.create_task(one.run(words, timeout=100))
        await until(lambda: host.processes(go.name))
        host.cut()
        go.touch()
        await until(lambda: not host.processes(go.name))  # it has ended, and nobody here knows
        host.restore()
        assert (await running).stdout == b"whole\n"


async def test_who_listens_not_is_told(pool: Pool) -> None:
    pool.bed.hosts["node1"].stop_sshd()
    async with pool("node1", "nowhere.invalid") as (one, two):
        with pytest.raises(TransportError, match=r"no sshd listens at|Connection refused"):
            await one.run(["true"], timeout=30)
        with pytest.raises(TransportError, match=r"no such name is known|not resolve hostname"):
            await two.run(["true"], timeout=30)


async def test_a_login_that_prints_is_heard_past(pool: Pool) -> None:
    """Start-up files that greet, as many do, would spoil every stream."""
    home = pool.bed.hosts["node1"].home()
    (home / ".bashrc").write_text("echo welcome; echo to all >&2\n")
    try:
        async with pool("node1") as (one,):
            done = await one.run(["cat"], stdin=b"data", timeout=30)
            assert done.stdout == b"data"
    finally:
        (home / ".bashrc").unlink()


async def test_a_login_without_a_shell_is_told(pool: Pool) -> None:
    pool.bed.hosts["node1"].restart_sshd("ForceCommand echo go away; exit 3")
    async with pool("node1") as (one,):
        with pytest.raises(LoginRefusedError, match=r"did not start sh; .* 3 and said: go away"):
            await one.run(["true"], timeout=30)


@pytest.mark.namespaces
async def test_closing_is_bounded_where_all_is_silent(pool: Pool) -> None:
    host = pool.bed.hosts["node1"]
    loop = asyncio.get_running_loop()
    async with pool("node1") as (one,):
        await one.run(["true"], timeout=30)
        host.cut()
        began = loop.time()
    assert loop.time() - began < 10


async def test_a_command_too_long_for_any_host_is_refused(pool: Pool) -> None:
    async with pool("node1") as (one,):
        with pytest.raises(TransportError, match="too long to be given to a host"):
            await one.run(["echo", "x" * 200_000], timeout=30)
        done = await one.run(["sh", "-c", 'printf %s "$1" | wc -c', "sh", "'" * 5000], timeout=30)
        assert done.stdout.split() == [b"5000"]
