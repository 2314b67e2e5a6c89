"""One host of the SSH test bed: a real sshd, and what can happen to a host."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

INIT = Path(__file__).with_name("ssh_init.py")
PATIENCE = 30.0  # seconds that anything may take on a machine that is busy
USER = "sweeper"
"""The normal user that hosts in namespaces have besides root."""

SSHD_CONFIG = """\
HostKey {etc}/host_key
AuthorizedKeysFile {etc}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_*
LogLevel VERBOSE
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# All of it happens in namespaces of the host's own and ends with them. sshd wants /run/sshd and
# writes to /var/log; users are known and have homes on this host alone.
BOOT = """\
set -eu
hostname {name}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
mount -t tmpfs -o mode=755 tmpfs /var/log
for file in passwd group shadow; do mount --bind {etc}/$file /etc/$file; done
mount --bind {home} {mounted}
# Each boot has an id of its own, as on any machine.
cat /proc/sys/kernel/random/uuid >{etc}/boot_id
mount --bind {etc}/boot_id /proc/sys/kernel/random/boot_id
"""


def run(*words: str | Path, text: bytes = b"") -> str:
    """Run a command that must succeed and return what it prints."""
    done = subprocess.run(words, input=text, capture_output=True, check=False, timeout=PATIENCE)
    if done.returncode:
        shown = " ".join(map(str, words))
        raise RuntimeError(f"{shown}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


@dataclass
class Host:
    """A host; made by `SSHBed.add`.

    Attributes:
        name: its host name, and what the bed's `ssh_config` calls it.
        address: its address; reachable from this machine alone.
        port: where sshd listens, besides 22 where the host is in namespaces.
        directory: its files, as the driver sees them.
        homes: the directory of the homes of its users, as the driver sees it.
        mounted: the same as the host sees it; equal on all hosts in namespaces.
        network: what `nsenter --net=` takes; None in loopback mode.
        extra: the directives that its sshd was given besides its usual ones.
        touched: whether something was done to it since it was booted.
    """

    name: str
    address: str
    port: int
    directory: Path
    homes: Path
    mounted: Path
    network: str | None
    extra: tuple[str, ...] = ()
    touched: bool = False
    _to: int = field(default=-1, repr=False)
    _from: int = field(default=-1, repr=False)
    _cut: bool = False

    @property
    def etc(self) -> Path:
        return self.directory / "etc"

    @property
    def up(self) -> bool:
        """Whether it has been booted and not been killed since."""
        return self._to >= 0

    def home(self, user: str = "root") -> Path:
        """Return the home of a user as the driver sees it."""
        return self.homes / user

    # Its life.

    def boot(self, *extra: str) -> None:
        """Start the host and wait until sshd answers; directives as for `restart_sshd`."""
        assert not self.up
        self._configure(extra)
        ours, theirs = os.pipe(), os.pipe()
        words: list[str | Path] = ["setsid", "--fork"]  # no child of the test's own process
        kind = "loopback"
        if self.network is not None:
            kind = "namespaces"
            words += ["nsenter", f"--net={self.network}"]
            words += ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
            words += ["--mount-proc"]
        words += [sys.executable, "-I", "-S", INIT, self.directory, kind]
        with (self.directory / "init.log").open("ab") as log:
            subprocess.run(words, stdin=ours[0], stdout=theirs[1], stderr=log, check=True)
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        try:
            self._hear()
            self._tell("listen")
            self.restore()
            self.wait_until_it_answers()
            self.touched = False
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the host as a power cut does: silently, with every process on it."""
        if not self.up:
            return
        if self.network is not None:
            self.cut()  # or the kernel would say good-bye for the processes
        os.close(self._to)
        self._to = -1
        try:
            self._hear(nothing=True)
        finally:
            os.close(self._from)

    def wait_until_it_answers(self) -> None:
        """Wait until sshd greets."""
        deadline = time.monotonic() + PATIENCE
        while True:
            where = (self.address, self.port)
            with suppress(OSError), socket.create_connection(where, timeout=2) as one:
                if one.recv(4) == b"SSH-":
                    return
            if time.monotonic() > deadline:
                logs = [self.directory / "init.log", self.directory / "sshd.log"]
                said = "".join(log.read_text()[-2000:] for log in logs if log.exists())
                raise TimeoutError(f"{self.name} does not answer:\n{said}")
            time.sleep(0.02)

    # What can happen to it.

    def cut(self) -> None:
        """Let no packet through any more, in either direction; nothing is refused, all is silent.

        This, `refuse` and `small_disk` need namespaces, and their tests the mark of that name.
        """
        if not self._cut:
            for chain, direction in (("INPUT", "-i"), ("OUTPUT", "-o")):
                self._iptables("-A", chain, direction, "eth0", "-j", "DROP")
            self._cut = self.touched = True

    def restore(self) -> None:
        """Undo `cut` and `refuse`."""
        if self.network is not None:
            self._iptables("-F")
        self._cut = False

    def refuse(self) -> None:
        """Have every connection, open or new, reset from now on."""
        self.touched = True
        self._iptables(
            *("-A", "INPUT", "-i", "eth0", "-p", "tcp", "-j", "REJECT"),
            *("--reject-with", "tcp-reset"),
        )

    def restart_sshd(self, *extra: str, drop: bool = False) -> None:
        """Start sshd again.

        Args:
            extra: directives that take precedence, such as "MaxSessions 2"; those of the boot are
                forgotten.
            drop: whether connections that there are die; programs go on either way.
        """
        self._configure(extra)
        self.touched = True
        self._tell("drop" if drop else "deafen", "listen")
        self.wait_until_it_answers()

    def stop_sshd(self, *, drop: bool = False) -> None:
        """Have sshd no longer listen, so that connecting is refused, until it is restarted."""
        self.touched = True
        self._tell("drop" if drop else "deafen")

    def fall_silent(self) -> None:
        """Have sshd, its connections included, take in and say nothing; works in either mode."""
        self.touched = True
        for pid in self._sshds():
            os.kill(pid, signal.SIGSTOP)

    def speak(self) -> None:
        """Undo `fall_silent`."""
        for pid in self._sshds():
            os.kill(pid, signal.SIGCONT)

    def change_key(self) -> None:
        """Give the host another key than the one that the bed's `known_hosts` tells."""
        for name in ("host_key", "host_key.pub"):
            shutil.copy2(self.etc / name, self.etc / f"{name}.known")
            (self.etc / name).unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.etc / "host_key")
        self.restart_sshd(*self.extra)

    def restore_key(self) -> None:
        """Undo `change_key`."""
        for name in ("host_key", "host_key.pub"):
            (self.etc / f"{name}.known").replace(self.etc / name)
        self.restart_sshd(*self.extra)

    def small_disk(self, path: Path, size: str = "1m", inodes: int = 1000) -> None:
        """Mount a small tmpfs on a directory of the host, which hides what was there.

        `inside("umount", path)` takes it away again, and so does the host's death.
        """
        assert self.network is not None, "this needs namespaces: mark the test with that"
        self.inside("mkdir", "-p", str(path))
        options = f"size={size},nr_inodes={inodes},mode=1777"
        self.inside("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))

    def inside(self, *words: str) -> str:
        """Run a command as root on the host, without SSH, that must succeed."""
        if self.network is None:
            return run(*words)
        return run("nsenter", f"--target={self._init_pid()}", "--all", *words)

    def boot_id(self) -> str:
        """Return the id that its kernel has given this boot."""
        return self.inside("cat", "/proc/sys/kernel/random/boot_id").strip()

    def processes(self, text: str) -> list[str]:
        """Return the command lines of the host's processes that hold a text."""
        found: list[str] = []
        for pid in self._pids():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found.append(words.decode(errors="replace"))
        return [line for line in found if text in line]

    # How.

    def close(self) -> None:
        """End the host and remove what it had on this machine."""
        self.kill()

    def _configure(self, extra: Sequence[str]) -> None:
        self.extra = tuple(extra)
        ports = [22, self.port] if self.network is not None else [self.port]
        lines = [f"ListenAddress {self.address}:{port}" for port in ports]
        if self.network is None:
            extra = self._with_own_place(extra)
        # sshd takes the first value of a directive.
        text = "\n".join([*extra, *lines, SSHD_CONFIG.format(etc=self.etc)])
        (self.etc / "sshd_config").write_text(text)
        boot = BOOT.format(name=self.name, etc=self.etc, home=self.homes, mounted=self.mounted)
        (self.etc / "boot.sh").write_text(boot)

    def _with_own_place(self, extra: Sequence[str]) -> list[str]:
        """Have logins find the host's own home and name where it shares those of this machine."""
        hostname = self.directory / "bin" / "hostname"
        hostname.parent.mkdir(exist_ok=True)
        hostname.write_text(f"#!/bin/sh\necho {self.name}\n")
        hostname.chmod(0o755)
        # Of several such directives sshd takes the first, and of several values any.
        given = [one.partition(" ")[2] for one in extra if one.startswith("SetEnv ")]
        own = {"HOME": self.home("root"), "PATH": f"{hostname.parent}:{_PATH}"}
        words = [f"{name}={value}" for name, value in own.items()
                 if not any(one.startswith(f"{name}=") for one in given)]  # fmt: skip
        rest = [one for one in extra if not one.startswith("SetEnv ")]
        return [" ".join(["SetEnv", *given, *words]), *rest]

    def _iptables(self, *words: str) -> None:
        assert self.network is not None, "this needs namespaces: mark the test with that"
        run("nsenter", f"--net={self.network}", "iptables", "-w", "10", *words)

    def _init_pid(self) -> int:
        """Return the pid of the host's first process as this machine sees it."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[3:5] == [bytes(INIT), bytes(self.directory)]:
                    return int(entry.name)
        raise RuntimeError(f"{self.name} is not up")

    def _sshds(self) -> list[int]:
        """Return the pids of all processes of sshd, as this machine sees them."""
        found: list[int] = []
        for pid in self._pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    found.append(pid)
        return found

    def _pids(self) -> list[int]:
        """Return the pids of all processes but the first one, as this machine sees them."""
        first = self._init_pid()
        if self.network is not None:
            space = Path(f"/proc/{first}/ns/pid").readlink()
            return [pid for pid in _all_pids() if pid != first and _space_of(pid) == space]
        found = [first]  # which takes over those whose parents have ended
        for pid in found:
            with suppress(OSError):
                for children in Path(f"/proc/{pid}").glob("task/*/children"):
                    found += map(int, children.read_text().split())
        return found[1:]

    def _tell(self, *words: str) -> None:
        os.write(self._to, json.dumps(words).encode() + b"\n")
        self._hear()

    def _hear(self, *, nothing: bool = False) -> None:
        """Read the answer to one command, or, with `nothing`, the end of it all."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the first process of {self.name} does not answer")
            came = os.read(self._from, 4096)
            if nothing and not came:
                return
            if not came:
                said = (self.directory / "init.log").read_text()[-2000:]
                raise RuntimeError(f"the first process of {self.name} has ended:\n{said}")
            if not nothing and came.endswith(b"\n"):
                return


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _space_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return None
