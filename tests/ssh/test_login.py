"""Logins by the system's ssh: with a person, without one, and what stays afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_sweeps import Going, Marks, going, runner
from multirun_core.errors import TransportError
from multirun_ssh.errors import HostKeyError, LoginNeedsPersonError, LoginRefusedError
from pools import Pool, gone
from ssh_bed import PASSWORD, SSHBed
from ssh_host import PATIENCE, Host

from multirun_ssh import SSHRunner, login

ASKS = ("PasswordAuthentication yes", "AuthenticationMethods password")


@pytest.fixture
def pool(
    bed: SSHBed, hosts: list[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pool]:
    """Logins of persons are kept where this test alone looks."""
    runtime = Path("/tmp") / f"mr-{os.getpid()}-{time.monotonic_ns() % 10**9}"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield Pool(bed, transport="openssh", ssh_config=without_batch_mode(bed, tmp_path))
    deadline = time.monotonic() + PATIENCE
    while sockets := list((runtime / "multirun-ssh").glob("*")):  # each goes with its master
        for socket in sockets:
            words = ["ssh", "-S", str(socket), "-O", "exit", "any"]
            done = subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE)
            if done.returncode and b"refused" in done.stderr:
                socket.unlink(missing_ok=True)  # its master was killed
        assert time.monotonic() < deadline, sockets
        time.sleep(0.02)
    shutil.rmtree(runtime)


def without_batch_mode(bed: SSHBed, place: Path) -> Path:
    lines = bed.ssh_config.read_text().splitlines()
    config = place / "config that asks"
    config.write_text("\n".join(line for line in lines if "BatchMode" not in line))
    return config


@pytest.mark.asyncio
@pytest.mark.namespaces
async def test_without_a_terminal_a_person_is_waited_for(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the message says to type, once typed, is all that is needed."""
    monkeypatch.setattr(login, "has_terminal", lambda: False)
    pool.bed.hosts["node1"].restart_sshd(*ASKS)
    async with pool("node1") as (one,):
        for _ in range(2):
            with pytest.raises(LoginNeedsPersonError, match="what only a person can give") as told:
                await one.run(["true"], timeout=30)
        assert "Permission denied (password)" in str(told.value)
        # The shell stays until ssh has left the terminal, as a person's does.
        log_in = told.value.command
        script = f"{log_in} && {log_in.replace('-f -N -M', '-O check')}"
        await asyncio.to_thread(type_password, ["sh", "-c", script])
        assert (await one.run(["echo", "in"], timeout=30)).stdout == b"in\n"
    async with pool("node1") as (one,):  # and it stays for the next sweep
        assert (await one.run(["echo", "in"], timeout=30)).stdout == b"in\n"


def logged_in(sweep: Going, caplog: pytest.LogCaptureFixture) -> None:
    """Wait until the sweep asks for a login, and log in as it says."""
    asks = re.compile(r"^node1 is waited for: .*\n +(ssh .*)", re.DOTALL)
    found = sweep.until(lambda: [one for one in map(asks.match, caplog.messages) if one])
    log_in = found[0][1]
    type_password(["sh", "-c", f"{log_in} && {log_in.replace('-f -N -M', '-O check')}"])


def why(made: SSHRunner) -> str:
    """Return why the first host cannot be used."""
    assert made._pool is not None
    return made._pool.hosts[0].health.why


@pytest.mark.namespaces
def test_a_sweep_waits_for_the_person(
    pool: Pool,
    hosts: list[Host],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At its beginning, and where the login is lost on the way; no run fails meanwhile.

    Nor does the sweep where the host is out of reach for a while.
    """
    monkeypatch.setattr(login, "has_terminal", lambda: False)
    hosts[0].restart_sshd(*ASKS)
    marks = Marks(pool.bed, "a person is waited for")
    made = runner(pool.bed, hosts[:1], **pool.options, host_timeout=20.0)
    with going(marks, tmp_path / "s", 4, made) as sweep:
        sweep.until(lambda: "is waited for" in caplog.text)
        hosts[0].stop_sshd()
        sweep.until(lambda: "Connection refused" in why(made))
        hosts[0].restart_sshd(*ASKS)
        logged_in(sweep, caplog)
        sweep.until(lambda: len(marks.executions()) == 2)
        caplog.clear()
        hosts[0].restart_sshd(*ASKS, drop=True)
        logged_in(sweep, caplog)
        marks.go()
        runs = sweep.wait().runs
    assert [(run.status, run.attempts) for run in runs] == [("success", 1)] * 4
    assert marks.executions() == dict.fromkeys(range(4), 1)


@pytest.mark.namespaces
def test_on_a_terminal_ssh_asks_for_as_long_as_it_takes(pool: Pool) -> None:
    """The time of the command that wanted to log in is up: that is no failure."""
    pool.bed.hosts["node1"].restart_sshd(*ASKS)
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from multirun_ssh.errors import LoginNeedsPersonError\n"
        "from multirun_ssh.hosts import find_hosts\n"
        "from multirun_ssh.options import Connecting\n"
        "from multirun_ssh.transport import open_pool\n"
        "async def main():\n"
        "    how = Connecting(transport='openssh', ssh_config=Path(sys.argv[1]))\n"
        "    (one,) = open_pool(find_hosts('node1'), how).values()\n"
        "    try:\n"
        "        await one.run(['true'], timeout=5)\n"
        "    except LoginNeedsPersonError as error:\n"
        "        print(error)\n"
        "        print('now log in', flush=True)\n"
        "    print((await one.run(['echo', 'in'], timeout=30)).stdout)\n"
        "    await one.close()\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", code, str(pool.options["ssh_config"])]
    shown = type_password(words, b"now log in")
    assert shown.count("password:") == 1
    assert "nobody has logged in to node1 yet" in shown
    assert r"b'in\n'" in shown


@pytest.mark.namespaces
def test_on_a_terminal_ssh_asks(pool: Pool) -> None:
    """One login for two commands at once, by whoever sits there."""
    pool.bed.hosts["node1"].restart_sshd(*ASKS)
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from multirun_ssh.hosts import find_hosts\n"
        "from multirun_ssh.options import Connecting\n"
        "from multirun_ssh.transport import open_pool\n"
        "async def main():\n"
        "    how = Connecting(transport='openssh', ssh_config=Path(sys.argv[1]))\n"
        "    (one,) = open_pool(find_hosts('node1'), how).values()\n"
        "    ends = [one.run(['echo', word], timeout=60) for word in ('first', 'second')]\n"
        "    print([end.stdout for end in await asyncio.gather(*ends)])\n"
        "    await one.close()\n"
        "asyncio.run(main())\n"
    )
    shown = type_password([sys.executable, "-c", code, str(pool.options["ssh_config"])])
    assert shown.count("password:") == 1
    assert "node1 asks for a login; answer on the terminal" in shown
    assert r"[b'first\n', b'second\n']" in shown


@pytest.mark.asyncio
async def test_a_login_of_ones_own_is_used(pool: Pool, tmp_path: Path) -> None:
    """Whoever has ControlMaster in their configuration has logged in already."""
    socket = f"{os.environ['XDG_RUNTIME_DIR']}/mine"
    config: Path = pool.options["ssh_config"]
    config.write_text(f"ControlPath {socket}\n{config.read_text()}")
    master = subprocess.Popen(["ssh", "-F", config, "-M", "-N", "node1"], stdin=subprocess.DEVNULL)
    try:
        while not Path(socket).exists():
            await asyncio.sleep(0.02)
        log = pool.bed.hosts["node1"].directory / "sshd.log"
        before = log.read_text().count("Accepted publickey")
        async with pool("node1") as (one,):
            assert (await one.run(["echo", "in"], timeout=30)).stdout == b"in\n"
        assert log.read_text().count("Accepted publickey") == before
        assert master.poll() is None  # it is not ours to end
    finally:
        master.kill()  # it may miss a TERM that comes while it forwards
        master.wait()


@pytest.mark.asyncio
async def test_a_command_is_ended_that_has_not_been_heard_of_yet(pool: Pool) -> None:
    host = pool.bed.hosts["node1"]
    async with pool("node1") as (one,):
        await one.run(["true"], timeout=30)
        task = asyncio.create_task(one.run(["sleep", "4729"], timeout=None))
        while not any(b"sleep 4729" in line for line in command_lines()):
            await asyncio.sleep(0)
        while not host.processes("sleep 4729"):  # meanwhile nothing is heard here
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(host, "4729")


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ")


@pytest.mark.asyncio
async def test_no_login_is_left_behind(pool: Pool) -> None:
    async with pool("node1", "node2") as two:
        await asyncio.gather(*(one.run(["true"], timeout=30) for one in two))
        place = Path(os.environ["XDG_RUNTIME_DIR"]) / "multirun-ssh"
        assert len(list(place.iterdir())) == 2
        assert place.stat().st_mode & 0o077 == 0
    assert not list(place.iterdir())


@pytest.mark.asyncio
async def test_keys_and_refusals_are_told(pool: Pool, tmp_path: Path) -> None:
    empty = tmp_path / "known hosts"
    empty.write_text("")
    host = pool.bed.hosts["node1"]
    async with pool("node1", known_hosts=empty) as (one,):
        with pytest.raises(HostKeyError, match="Host key verification failed") as told:
            await one.run(["true"], timeout=30)
    words = ["ssh-keygen", "-l", "-f", host.etc / "host_key.pub"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"  it shows: ssh-ed25519 {done.stdout.split()[1]}\n" in str(told.value)
    host.change_key()
    try:
        async with pool("node1") as (one,):
            with pytest.raises(HostKeyError, match="SHA256:"):
                await one.run(["true"], timeout=30)
        async with pool("node1", known_hosts=None) as (one,):
            assert (await one.run(["true"], timeout=30)).code == 0
    finally:
        host.restore_key()
    host.restart_sshd("AuthorizedKeysFile none")
    async with pool("node1") as (one,):
        with pytest.raises(LoginRefusedError, match=r"refuses the login: .*\(publickey\)"):
            await one.run(["true"], timeout=30)


def behind(pool: Pool, place: Path) -> None:
    """Have node2 reached by way of node1."""
    config = place / "config"  # the name of which ssh does not quote for the ssh that it starts
    config.write_text(f"Host node2\n  ProxyJump node1\n{pool.options['ssh_config'].read_text()}")
    pool.options["ssh_config"] = config


@pytest.mark.asyncio
@pytest.mark.namespaces
async def test_a_jump_host_that_asks_is_logged_in_to(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(login, "has_terminal", lambda: False)
    behind(pool, tmp_path)
    pool.bed.hosts["node1"].restart_sshd(*ASKS)
    async with pool("node2") as (one,):
        with pytest.raises(LoginNeedsPersonError, match=r"Permission denied \(password\)") as told:
            await one.run(["true"], timeout=60)
        log_in = told.value.command
        # The ssh that reaches the jump host stays in the session of the terminal, which ends here.
        script = f"trap '' HUP; {log_in} && {log_in.replace('-f -N -M', '-O check')}"
        await asyncio.to_thread(type_password, ["sh", "-c", script])
        assert (await one.run(["hostname"], timeout=30)).stdout == b"node2\n"


@pytest.mark.asyncio
async def test_what_is_wrong_with_a_jump_host_is_told(pool: Pool, tmp_path: Path) -> None:
    behind(pool, tmp_path)
    host = pool.bed.hosts["node1"]
    host.change_key()
    try:
        async with pool("node2") as (one,):
            with pytest.raises(HostKeyError, match="SHA256:"):
                await one.run(["true"], timeout=60)
    finally:
        host.restore_key()
    host.restart_sshd("AuthorizedKeysFile none")
    async with pool("node2") as (one,):
        with pytest.raises(LoginRefusedError, match=r"refuses the login: .*\(publickey\)"):
            await one.run(["true"], timeout=60)
    host.stop_sshd()
    async with pool("node2") as (one,):
        with pytest.raises(TransportError, match=r"connect to host .*: Connection refused"):
            await one.run(["true"], timeout=60)


@pytest.mark.parametrize("word", ["no", "accept-new", "yes"])
@pytest.mark.asyncio
async def test_a_configuration_that_trusts_anybody_is_warned_of(
    pool: Pool, caplog: pytest.LogCaptureFixture, word: str, tmp_path: Path
) -> None:
    """Once for all hosts; it is followed all the same."""
    config: Path = pool.options["ssh_config"]
    config.write_text(f"StrictHostKeyChecking {word}\n{config.read_text()}")
    with caplog.at_level(logging.WARNING, "multirun.ssh"):
        async with pool("node1", "node2") as two:
            await asyncio.gather(*(one.run(["true"], timeout=30) for one in two))
    warned = [one for one in caplog.messages if f"StrictHostKeyChecking is '{word}'" in one]
    assert len(warned) == (word != "yes")


@pytest.mark.asyncio
async def test_a_directory_of_others_is_not_used(pool: Pool) -> None:
    place = Path(os.environ["XDG_RUNTIME_DIR"]) / "multirun-ssh"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    async with pool("node1") as (one,):
        with pytest.raises(TransportError, match="not a directory of yours alone"):
            await one.run(["true"], timeout=30)


def type_password(words: list[str], sign: bytes = b"password:") -> str:
    """Run a command on a terminal, answer what it asks, and return all that the terminal showed.

    Args:
        words: the command.
        sign: what it shows when it is to be answered.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)  # noqa: S606 - it is what has the terminal
    shown, answered = b"", 0
    deadline = time.monotonic() + 50
    try:
        while True:
            ready, _, _ = select.select([terminal], [], [], 1)
            assert time.monotonic() < deadline, shown.decode(errors="replace")
            if not ready:
                continue
            try:
                block = os.read(terminal, 4096)
            except OSError:  # everybody has closed it
                break
            if not block:
                break
            shown += block
            if shown.count(sign) > answered:
                answered += 1
                os.write(terminal, PASSWORD.encode() + b"\n")
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode(errors="replace")
    return shown.decode(errors="replace")
