"""Logging in to real hosts: configuration, jump hosts, keys of hosts and of people."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from pathlib import Path

import asyncssh
import pytest
from multirun_core.errors import RunnerOptionError, TransportError
from multirun_ssh.errors import HostKeyError, LoginRefusedError
from multirun_ssh.options import Connecting
from multirun_ssh.transport import SSHTransport
from pools import Pool
from ssh_bed import SSHBed
from ssh_host import USER, Host

pytestmark = pytest.mark.asyncio


@pytest.fixture
def pool(bed: SSHBed, hosts: list[Host]) -> Pool:
    return Pool(bed)


async def said_by(pool: Pool, host: str, config: Path, *, known: Path | None = None) -> str:
    """Return the text of what is raised, or "" where the login succeeds."""
    options = {"ssh_config": config} | ({"known_hosts": known} if known else {})
    async with pool(host, **options) as (one,):
        try:
            assert (await one.run(["true"], timeout=30)).code == 0
        except TransportError as error:
            return f"{type(error).__name__}: {error}"
    return ""


@pytest.fixture
def config(bed: SSHBed, tmp_path: Path) -> Path:
    """A configuration that a test may write in front of."""
    path = tmp_path / "my config"
    path.write_text(bed.ssh_config.read_text())
    return path


def put_first(config: Path, text: str) -> None:
    config.write_text(text + config.read_text())


async def test_an_unknown_host_is_refused_with_its_fingerprint(
    pool: Pool, config: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "known"
    empty.write_text("")
    host = pool.bed.hosts["node1"]
    told = await said_by(pool, "node1", config, known=empty)
    words = ["ssh-keygen", "-l", "-f", host.etc / "host_key.pub"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    fingerprint = done.stdout.split()[1]
    assert told.startswith("HostKeyError: the host key of node1 is not known")
    assert f"ssh-ed25519 {fingerprint}" in told
    assert f"[{host.address}]:2222 in {empty}" in told
    assert f"ssh -F '{config}' -o UserKnownHostsFile={empty} node1" in told


async def test_another_key_is_refused_and_told_apart(pool: Pool, config: Path) -> None:
    host = pool.bed.hosts["node1"]
    host.change_key()
    try:
        told = await said_by(pool, "node1", config)
    finally:
        host.restore_key()
    assert told.startswith("HostKeyError: the host key of node1 is NOT the one that is known")
    assert f"ssh-keygen -R '[{host.address}]:2222' -f {pool.bed.known_hosts}" in told
    assert await said_by(pool, "node1", config) == ""


async def test_hashed_names_and_broken_lines_are_read(
    pool: Pool, config: Path, tmp_path: Path
) -> None:
    hashed = tmp_path / "hashed"
    hashed.write_text("|1|broken\nno key at all\n" + pool.bed.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=False, capture_output=True)
    assert await said_by(pool, "node1", config, known=hashed) == ""


@pytest.mark.parametrize("directive", ["UserKnownHostsFile none", "StrictHostKeyChecking no"])
async def test_a_configuration_that_turns_checking_off_does_not(
    pool: Pool, config: Path, directive: str, tmp_path: Path
) -> None:
    put_first(config, f"Host *\n  {directive}\n  UserKnownHostsFile {tmp_path}/none\n")
    assert "the host key of node1 is not known" in await said_by(pool, "node1", config)


async def test_trusting_anybody_is_asked_for_by_name_and_warned_of(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    host = pool.bed.hosts["node1"]
    host.change_key()
    try:
        with caplog.at_level(logging.WARNING, "multirun.ssh"):
            async with pool("node1", "node2", known_hosts=None) as (one, two):
                assert (await one.run(["true"], timeout=30)).code == 0
                assert (await two.run(["true"], timeout=30)).code == 0
    finally:
        host.restore_key()
    warned = [one.message for one in caplog.records if "no host key is verified" in one.message]
    assert len(warned) == 1


async def test_a_key_that_is_not_accepted_is_told(pool: Pool, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    config.write_text(config.read_text().replace(str(pool.bed.identity), str(other)))
    told = await said_by(pool, "node1", config)
    assert told.startswith("LoginRefusedError: node1 refuses the login")
    assert "ssh-add" in told
    assert "transport=openssh" in told


async def test_user_port_and_match_are_read(pool: Pool, config: Path, tmp_path: Path) -> None:
    host = pool.bed.hosts["node2"]
    seen = tmp_path / "seen by exec"
    put_first(
        config,
        f"Match originalhost lab exec \"touch '{seen}'\"\n  HostName {host.address}\n"
        f"Host lab\n  Port 2222\n  User {pool.bed.user}\n",
    )
    async with pool("lab", ssh_config=config) as (one,):
        assert (await one.run(["true"], timeout=30)).code == 0
    assert seen.exists()


async def test_files_that_a_configuration_includes_are_read(
    pool: Pool, config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "con fig.d"
    folder.mkdir()
    for name in ("node1", "node2"):
        lines = f"Host of-{name}\n  HostName {pool.bed.hosts[name].address}\n  Port 2222\n"
        (folder / f"{name}.conf").write_text(lines)
    put_first(config, f'Include "{folder}/*.conf"\n')
    async with pool("of-node1", "of-node2", ssh_config=config) as two:
        ends = await asyncio.gather(*(one.run(["hostname"], timeout=30) for one in two))
    assert [end.stdout for end in ends] == [b"node1\n", b"node2\n"]


@pytest.mark.namespaces
async def test_what_is_said_of_a_host_goes_before_the_configuration(
    pool: Pool, config: Path
) -> None:
    put_first(config, "Host node1\n  Port 1\n  User nobody\n")
    async with pool(f"{USER}@node1:2222", ssh_config=config) as (one,):
        assert (await one.run(["id", "-un"], timeout=30)).stdout.decode() == f"{USER}\n"
        assert one.name == f"{USER}@node1:2222"
    async with pool(f"ssh://{USER}@node1:22", ssh_config=config) as (one,):
        assert (await one.run(["id", "-un"], timeout=30)).stdout.decode() == f"{USER}\n"


async def test_an_agent_is_asked(
    pool: Pool, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", socket, stdout=-3)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        lines = config.read_text().splitlines()
        left = [line for line in lines if "Identit" not in line]
        config.write_text("\n".join(left))
        monkeypatch.setenv("HOME", str(tmp_path))
        while not socket.exists():
            await asyncio.sleep(0.02)
        assert "refuses the login" in await said_by(pool, "node1", config)
        subprocess.run(["ssh-add", "-q", pool.bed.identity], check=True)
        assert await said_by(pool, "node1", config) == ""
    finally:
        agent.terminate()
        await agent.wait()


async def test_jump_hosts_are_shared(pool: Pool, config: Path) -> None:
    """The hosts behind one cannot be reached from here, and each would log in to it."""
    bed = pool.bed
    put_first(config, "Host node2 node3 node4\n  ProxyJump node1\n")
    log = bed.hosts["node1"].directory / "sshd.log"
    before = log.read_text().count("Accepted publickey")
    async with pool("node2", "node3", "node4", ssh_config=config) as three:
        ends = await asyncio.gather(*(one.run(["hostname"], timeout=60) for one in three))
        assert [end.stdout for end in ends] == [b"node2\n", b"node3\n", b"node4\n"]
        assert log.read_text().count("Accepted publickey") == before + 1
        bed.hosts["node1"].restart_sshd(drop=True)
        ends = await asyncio.gather(*(one.run(["true"], timeout=60) for one in three))
        assert [end.code for end in ends] == [0, 0, 0]


async def test_jumps_may_be_several_and_of_other_names(pool: Pool, config: Path) -> None:
    user = pool.bed.user
    put_first(config, f"Host node4\n  ProxyJump {user}@node1:2222,ssh://node2:2222\n")
    assert await said_by(pool, "node4", config) == ""


async def test_what_is_wrong_with_a_jump_host_is_told(pool: Pool, config: Path) -> None:
    put_first(config, "Host node2\n  ProxyJump node1\n")
    pool.bed.hosts["node1"].stop_sshd()
    assert "TransportError: node1 refuses connections" in await said_by(pool, "node2", config)
    pool.bed.hosts["node1"].restart_sshd("AllowTcpForwarding no")
    told = await said_by(pool, "node2", config)
    assert "TransportError: node2 cannot be reached from its jump host" in told
    put_first(config, "Host node1\n  ProxyJump node2\n")
    assert "are reached by themselves" in await said_by(pool, "node2", config)


async def test_a_proxy_command_is_run(pool: Pool, config: Path) -> None:
    address = pool.bed.hosts["node3"].address
    relay = f"import socket,sys,threading\ns=socket.create_connection(({address!r},2222))\n"
    relay += (
        "f=s.makefile('rwb',0)\n"
        "def up():\n while b:=sys.stdin.buffer.raw.read(65536): s.sendall(b)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while b:=s.recv(65536): sys.stdout.buffer.write(b); sys.stdout.buffer.flush()\n"
    )
    script = config.parent / "relay.py"
    script.write_text(relay)
    put_first(config, f"Host node3\n  ProxyCommand /usr/bin/python3 '{script}'\n")
    assert await said_by(pool, "node3", config) == ""


async def test_a_configuration_that_cannot_be_read_is_told(pool: Pool, config: Path) -> None:
    put_first(config, "Host *\n  Port many\n")
    told = await said_by(pool, "node1", config)
    assert told.startswith("LoginRefusedError: ssh's configuration for node1:")
    assert "line 2" in told
    with pytest.raises(RunnerOptionError, match="ssh_config '/no/such' is no file"):
        Connecting(ssh_config=Path("/no/such"))
    with pytest.raises(RunnerOptionError, match=r"connect_timeout is 0; it must be over 0 s"):
        Connecting(connect_timeout=0)


async def test_one_login_serves_all_that_wait_for_it(pool: Pool) -> None:
    log = pool.bed.hosts["node1"].directory / "sshd.log"
    before = log.read_text().count("Accepted publickey")
    async with pool("node1") as (one,):
        tasks = [asyncio.create_task(one.run(["true"], timeout=30)) for _ in range(8)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # which is no reason for the others to fail
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ends[0], asyncio.CancelledError)
        assert [end.code for end in ends[1:] if not isinstance(end, BaseException)] == [0] * 7
        assert isinstance(one, SSHTransport)
    assert log.read_text().count("Accepted publickey") == before + 1


async def test_no_packets_are_sent_that_say_nothing(
    pool: Pool, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def said() -> str:
        """Return what was sent once the login was done."""
        caplog.clear()
        async with pool("node1", ssh_config=config) as (one,):
            done = await one.run(["wc", "-c"], stdin=bytes(100_000), timeout=30)
        assert done.stdout == b"100000\n"
        lines = [line for line in caplog.messages if "Sent MSG_" in line]
        return "\n".join(lines).partition("MSG_CHANNEL_OPEN")[2]

    caplog.set_level(logging.DEBUG, "asyncssh")
    asyncssh.set_debug_level(3)
    try:
        sealed = await said()
        put_first(config, "Ciphers aes128-ctr\n")
        other = await said()
    finally:
        asyncssh.set_debug_level(1)
    assert sealed.count("MSG_CHANNEL_DATA") >= 4
    assert "MSG_IGNORE" not in sealed
    assert "MSG_IGNORE" in other


async def test_a_host_key_error_is_a_refusal() -> None:
    assert issubclass(HostKeyError, LoginRefusedError)
    assert issubclass(LoginRefusedError, TransportError)
