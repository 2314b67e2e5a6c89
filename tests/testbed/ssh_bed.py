"""The SSH test bed: real sshd hosts on this machine, and nowhere else.

With root and CAP_NET_ADMIN each host lives in namespaces of its own (network, mounts, host name,
processes), joined to this machine by a pair of virtual interfaces; elsewhere, or where
MULTIRUN_TESTBED=loopback, it is an address of the loopback range and shares files and processes.

Addresses are of 198.18.0.0/15, which RFC 2544 sets aside for tests within a network. Before
anything else its part of it is made unreachable: packets to a host whose link is down would
otherwise take the default route and leave the machine.

Any number of beds live side by side: each claims a number, which names its interfaces and
addresses, by an abstract socket, which goes with the process that has claimed it. So do the hosts
and, with their network namespaces, the interfaces: nothing needs to be cleaned up after a SIGKILL.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ssh_host import PATIENCE, USER, Host, run

PORT = 2222
MOST = 60  # hosts in a bed
PASSWORD = "correct horse"
"""Of every user, for an sshd that is told to ask for it: "AuthenticationMethods password"."""
_HASH = (
    "$6$multirun$utt3Yq1A/gCxMFeLZOhkyFCVZwJ0ErfERKiv9UVM0aLCnjo7hObM4K8YMekzcXa8d9DDwJT9llBGyYUw7ig"
    "DG."
)
IDS = 61000  # of the normal user; no matter which


class SSHBed:
    """A group of hosts; a context manager.

    Attributes:
        root: its directory, which other users may pass through.
        hosts: the hosts there are, by name.
        ssh_config: a configuration in which they have their names, for `ssh -F`.
        known_hosts: their keys.
        identity: the private key that all of them accept, for all users.
        user: the login of `ssh_config`: root in namespaces.
        namespaces: whether the hosts are in namespaces.
        shared: a directory that exists at the same path here and on all hosts, for any user.
    """

    def __init__(self, *, namespaces: bool | None = None) -> None:
        """Make a bed without hosts; in namespaces where that is possible, unless told not to."""
        for program in ("ssh", "ssh-keygen", "/usr/sbin/sshd"):
            if shutil.which(program) is None:
                raise RuntimeError(
                    f"{program} is not there: ./dev test installs it, or install openssh-server "
                    "and openssh-client"
                )
        self.namespaces = may_make_namespaces() if namespaces is None else namespaces
        if self.namespaces:
            forget_the_killed()
        self.number, self._claim = claim()
        self.root = Path(tempfile.mkdtemp(prefix="multirun-bed-"))
        self.root.chmod(0o711)
        self.hosts: dict[str, Host] = {}
        self.ssh_config = self.root / "ssh_config"
        self.known_hosts = self.root / "known_hosts"
        self.identity = self.root / "id"
        self.user = "root" if self.namespaces else getpass.getuser()
        self.shared = self.root / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o1777)
        (self.root / "home").mkdir()
        self._count = 0
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bed", "-f", self.identity)
        if self.namespaces:
            run("ip", "route", "replace", "unreachable", self.subnet, "metric", "4000")
        elif os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it; hosts in namespaces have theirs
        self._write_config()

    @property
    def subnet(self) -> str:
        return f"{self._prefix}.0/24"

    @property
    def _prefix(self) -> str:
        high, low = divmod(self.number, 256)
        return f"198.{18 + high}.{low}"

    def add(self, name: str, *extra: str, home: str | None = None) -> Host:
        """Boot another host.

        Args:
            name: what it is called.
            extra: directives for its sshd, such as "MaxSessions 2".
            home: hosts that are given the same word have the same homes; by default a host has
                homes of its own.
        """
        self._count += 1
        assert name not in self.hosts
        assert self._count <= MOST
        directory = self.root / f"{self._count}-{name}"
        homes = self.root / f"homes-{home}" if home else directory / "homes"
        (directory / "etc").mkdir(parents=True)
        self._make_homes(homes)
        self._write_etc(directory / "etc")
        network = None
        if self.namespaces:
            address = f"{self._prefix}.{4 * self._count + 2}"
            network = self._make_network(address)
            mounted = self.root / "home"
        else:
            address = f"127.{64 + self.number // 256}.{self.number % 256}.{self._count}"
            mounted = homes
        host = Host(name, address, PORT, directory, homes, mounted, network)
        self.hosts[name] = host
        self._write_config()
        try:
            host.boot(*extra)
        except BaseException:
            self.remove(host)
            raise
        return host

    def remove(self, host: Host) -> None:
        """End a host for good."""
        host.close()
        if host.network is not None:
            with suppress(RuntimeError):  # it goes with the namespace at the latest
                run("ip", "link", "delete", self._interface(host.address))
            os.close(int(host.network.rpartition("/")[2]))
        del self.hosts[host.name]
        self._write_config()

    def ssh(self, host: Host | str, command: str) -> str:
        """Run a command by the system's ssh, that must succeed."""
        name = host if isinstance(host, str) else host.name
        return run("ssh", "-F", self.ssh_config, name, command)

    def close(self) -> None:
        """End all hosts and remove all that was made."""
        for host in list(self.hosts.values()):
            self.remove(host)
        if self.namespaces:
            with suppress(RuntimeError):
                run("ip", "route", "delete", "unreachable", self.subnet, "metric", "4000")
        shutil.rmtree(self.root, ignore_errors=True)
        self._claim.close()

    def __enter__(self) -> SSHBed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # How.

    def _interface(self, address: str) -> str:
        return f"mrb{self.number}h{address.rpartition('.')[2]}"  # 15 characters at most

    def _make_network(self, address: str) -> str:
        """Make a network namespace that lives as long as this process holds it."""
        with subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; read -r end"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdout.read(1)  # it is in the namespace now
            held = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
            name = self._interface(address)
            near = address.rpartition(".")[0] + f".{int(address.rpartition('.')[2]) - 1}"
            with suppress(RuntimeError):  # left by somebody whose namespace is just going away
                run("ip", "link", "delete", name)
            peer = ("peer", "name", "eth0", "netns", str(holder.pid))
            run("ip", "link", "add", name, "type", "veth", *peer)
            run("ip", "addr", "add", f"{near}/30", "dev", name)
            run("ip", "link", "set", name, "up")
            # From host to host, as a jump host does; hosts know no way to any other place.
            Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding").write_text("1")
            network = f"/proc/{os.getpid()}/fd/{held}"
            lines = (
                "link set lo up\n"
                f"addr add {address}/30 dev eth0\nlink set eth0 up\n"
                f"route add {self.subnet} via {near}\n"
            )
            run("nsenter", f"--net={network}", "ip", "-batch", "-", text=lines.encode())
            holder.stdin.close()
        return network

    def _make_homes(self, homes: Path) -> None:
        homes.mkdir(exist_ok=True)
        for user in ("root", USER) if self.namespaces else ("root",):
            home = homes / user
            if not home.exists():
                home.mkdir(mode=0o700)
                if user == USER:
                    os.chown(home, IDS, IDS)

    def _write_etc(self, etc: Path) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", etc / "host_key")
        shutil.copy(self.identity.with_suffix(".pub"), etc / "authorized_keys")
        (etc / "authorized_keys").chmod(0o644)
        if self.namespaces:
            home = self.root / "home"
            here = Path("/etc/passwd").read_text().splitlines()
            others = [line for line in here if not line.startswith(("root:", f"{USER}:"))]
            users = [f"root:x:0:0:root:{home}/root:/bin/bash"]
            users.append(f"{USER}:x:{IDS}:{IDS}:{USER}:{home}/{USER}:/bin/bash")
            (etc / "passwd").write_text("\n".join([*users, *others, ""]))
            group = Path("/etc/group").read_text()
            (etc / "group").write_text(f"{group}{USER}:x:{IDS}:\n")
            (etc / "shadow").write_text(f"root:{_HASH}:19000::::::\n{USER}:{_HASH}:19000::::::\n")
            (etc / "shadow").chmod(0o600)

    def _write_config(self) -> None:
        """Write the configuration and the keys for the hosts that there are."""
        lines: list[str] = []
        keys: list[str] = []
        for host in self.hosts.values():
            lines += [f"Host {host.name}", f"  HostName {host.address}"]
            key = " ".join((host.etc / "host_key.pub").read_text().split()[:2])
            keys += [f"[{host.address}]:{host.port} {key}", f"{host.address} {key}"]
        lines += ["Host *", f"  Port {PORT}", f"  User {self.user}"]
        lines += [f"  IdentityFile {self.identity}", "  IdentitiesOnly yes"]
        lines += [f"  UserKnownHostsFile {self.known_hosts}", "  StrictHostKeyChecking yes"]
        lines += ["  BatchMode yes", f"  ConnectTimeout {PATIENCE:.0f}"]
        for path, written in ((self.ssh_config, lines), (self.known_hosts, keys)):
            fresh = path.with_suffix(".new")
            fresh.write_text("\n".join([*written, ""]))
            fresh.replace(path)


def may_make_namespaces() -> bool:
    """Whether hosts can have namespaces; False where loopback mode is asked for."""
    if os.environ.get("MULTIRUN_TESTBED") == "loopback" or os.geteuid() != 0:
        return False
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "ip",
            "link",
            "set",
            "lo",
            "up",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode == 0:
        for program, package in (("ip", "iproute2"), ("iptables", "iptables")):
            if shutil.which(program) is None:
                raise RuntimeError(f"{program} is not there: ./dev test installs {package}")
        return True
    if "not permitted" in done.stderr:
        return False
    raise RuntimeError(f"namespaces cannot be made: {done.stderr}")


def claim() -> tuple[int, socket.socket]:
    """Take a number that no other bed on this machine has, for as long as the socket is open."""
    for number in range(512):
        taken = claim_number(number)
        if taken is not None:
            return number, taken
    raise RuntimeError("512 beds are in use on this machine")


def claim_number(number: int) -> socket.socket | None:
    """Take this number; None where another bed has it."""
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        taken.bind(f"\0multirun-ssh-bed-{number}")
    except OSError:
        taken.close()
        return None
    return taken


def forget_the_killed() -> None:
    """Remove the routes of beds that were killed; all else of theirs has gone by itself."""
    for line in run("ip", "route", "show", "type", "unreachable").splitlines():
        words = line.split()
        if words[0] == "unreachable":
            words = words[1:]
        parts = words[0].split(".")
        if parts[0] != "198" or parts[1] not in ("18", "19") or "4000" not in words:
            continue
        taken = claim_number(256 * (int(parts[1]) - 18) + int(parts[2]))
        if taken is not None:
            with taken, suppress(RuntimeError):
                run("ip", "route", "delete", "unreachable", words[0], "metric", "4000")
