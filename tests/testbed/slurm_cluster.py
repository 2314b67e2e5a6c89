"""A real, private Slurm cluster on this machine, and what breaks it on purpose.

Nothing outside of the cluster's own directory is read or written, and a guardian process ends all
of it when the tests end, however they end.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import guardian
from ports import PortBlock, claim_ports
from slurm_files import DATABASE, ClusterOptions, cgroup_conf, gres_conf, slurm_conf, slurmdbd_conf

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
CGROUPS = Path("/sys/fs/cgroup/memory")
PATIENCE = 60.0  # seconds for what takes a tenth of that on a machine with nothing else to do
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


class ClusterError(Exception):
    """The cluster does not do what the test needs of it."""


def wait_until(
    condition: Callable[[], object], what: str | Callable[[], str], within: float = PATIENCE
) -> None:
    """Wait until a condition holds.

    Raises:
        ClusterError: it does not within so many seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise ClusterError(f"waited {within:g} s in vain for: {text}")
        time.sleep(0.05)


class SlurmCluster:
    """slurmctld, slurmd for each node, munged; MariaDB and slurmdbd where options say so.

    Attributes:
        root: the directory below which all of it lies.
        conf: slurm.conf.
        nodes: names of the nodes.
        env: the environment in which Slurm's commands reach this cluster.
        options: what it was made with.
    """

    def __init__(self, options: ClusterOptions | None = None) -> None:
        self.options = options or ClusterOptions()
        # Sockets' names are short: no directory of pytest's.
        self.root = Path(tempfile.mkdtemp(prefix="multirun-slurm-", dir="/tmp"))
        self.conf = self.root / "etc" / "slurm.conf"
        # The kernel names control groups after nodes, for all clusters of a machine.
        self._prefix = f"t{secrets.token_hex(3)}n" if self.options.cgroups else "n"
        self.nodes = tuple(f"{self._prefix}{i + 1}" for i in range(self.options.nodes))
        self.env: dict[str, str] = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))},
            "SLURM_CONF": str(self.conf),
            "PATH": PATH,
        }
        self._ports: PortBlock | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    # ---- from start to end

    def start(self) -> None:
        """Start everything, and wait until all nodes are idle."""
        self._check_programs()
        try:
            self._ports = claim_ports()
            # No child of the tests': it lives on where they are killed.
            self._guardian = subprocess.Popen(
                ["setsid", "--fork", sys.executable, "-SI", guardian.__file__, str(self.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[self._ports.claim.fileno()],
                cwd="/",
            )
            self._guardian.wait(PATIENCE)
            self._lay_out(self._ports)
            self.start_munge()
            if self.options.accounting:
                self.start_database()
                self.start_database_daemon()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the cluster, jobs included, and remove its directory."""
        ended, self._guardian = self._guardian, None
        if self._ports is not None:
            self._ports.close()
        if ended is None:
            return
        said, _ = ended.communicate(timeout=2 * guardian.PATIENCE)
        if said.strip() != b"done":
            raise ClusterError(f"not all of {self.root} has ended: {said!r}")

    def heal(self) -> None:
        """Undo what tests did: everything runs again, no job is left, all nodes are idle."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.options.accounting:
            self.start_database()
            self.start_database_daemon()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.cancel_all()
        for node, state in self.node_states().items():
            if any(word in state for word in ("drain", "down")):
                self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self.wait_idle()

    def _check_programs(self) -> None:
        wanted = [*PROGRAMS, *(ACCOUNTING_PROGRAMS if self.options.accounting else ())]
        missing = [name for name in wanted if shutil.which(name, path=PATH) is None]
        if missing:
            raise ClusterError(
                f"not installed: {', '.join(missing)}; `./dev test` installs it, or on Debian: "
                "apt-get install slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
            )

    def _lay_out(self, ports: PortBlock) -> None:
        self.root.chmod(0o755)
        for name in ("etc", "run", "log", "state", "spool", "munge", "db"):
            (self.root / name).mkdir()
        (self.root / "munge").chmod(0o700)
        self._write("munge/key", secrets.token_bytes(1024), mode=0o600)
        self._write("etc/slurm.conf", slurm_conf(self.root, ports, self._prefix, self.options))
        if self.options.gpus:
            self._write("etc/gres.conf", gres_conf(self.options))
        if self.options.cgroups:
            self._write("etc/cgroup.conf", cgroup_conf())
            self._write("run/cgroups", "\n".join(f"slurm_{node}" for node in self.nodes))
        if self.options.accounting:
            self._write("etc/slurmdbd.conf", slurmdbd_conf(self.root, ports), mode=0o600)

    def _write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    # ---- commands

    def run(
        self, *argv: str, check: bool = True, within: float = PATIENCE, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands, or another in its environment."""
        done = subprocess.run(
            argv,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(
                f"{' '.join(argv)}: status {done.returncode}: {done.stderr or done.stdout}"
            )
        return done

    def submit(self, script: str, *arguments: str) -> str:
        """Submit a batch script, with arguments of sbatch; return the job's id."""
        text = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
        output = [] if any(a.startswith(("-o", "--output")) for a in arguments) else ["-o/dev/null"]
        done = self.run("sbatch", "--parsable", *output, *arguments, stdin=text)
        return done.stdout.strip().partition(";")[0]

    def show(self, job: str) -> dict[str, str]:
        """Return what scontrol says of a job or array task; empty where it knows nothing."""
        done = self.run("scontrol", "-o", "show", "job", job, check=False)
        words = done.stdout.partition("\n")[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: str) -> str:
        """Return the state of a job by scontrol: `RUNNING`; "" where it is unknown."""
        return self.show(job).get("JobState", "")

    def wait_state(self, job: str, *states: str, within: float = PATIENCE) -> str:
        """Wait until a job is in one of these states; return it."""
        wait_until(
            lambda: self.state(job) in states,
            lambda: f"job {job} in {' or '.join(states)}; it is {self.show(job)}",
            within,
        )
        return self.state(job)

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%A", "-t", "PD,R,CG,S,CF").stdout.split()

    def cancel_all(self) -> None:
        """End all jobs, and wait until they are gone.

        Tasks of arrays are called by such as 5_1: once the last task of an array has gone,
        slurmctld 22.05 takes the ids of the others for invalid and ends none of them.
        """
        held = time.monotonic()

        def gone() -> bool:
            nonlocal held
            told = self.run("squeue", "-h", "-r", "-o", "%i", "-t", "PD,R,CG,S,CF").stdout
            if not (left := sorted(set(told.split()))):
                return True
            if time.monotonic() >= held:
                held = time.monotonic() + 2.0
                self.run("scancel", *left, check=False)
            return False

        wait_until(gone, lambda: f"the end of jobs: {self._told()}")

    def _told(self) -> str:
        """Return what is to be known of jobs that do not end."""
        jobs = self.run("squeue", "-h", "-o", "%A %T %r %N", "-t", "PD,R,CG,S,CF").stdout
        logs = {
            name: self.log(name) for name in ("slurmctld", *(f"slurmd.{n}" for n in self.nodes))
        }
        return f"{jobs}{self.node_states()} {logs}"

    def end_in(self, job: str, seconds: int = 2) -> None:
        """Let the time limit of a running job pass in so many seconds.

        It becomes TIMEOUT some ten seconds later; a limit itself counts in minutes only.
        """
        self.wait_state(job, "RUNNING")
        end = datetime.now() + timedelta(seconds=seconds)
        self.run("scontrol", "update", f"jobid={job}", f"EndTime={end:%Y-%m-%dT%H:%M:%S}")

    # ---- daemons

    def pid(self, name: str) -> int | None:
        """Return the process of a daemon, by the name of its file of the process id."""
        try:
            pid = int((self.root / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        # Not every file of a daemon that was killed is still about that daemon.
        return pid if guardian.belongs(Path(f"/proc/{pid}"), f"{self.root}/".encode()) else None

    def processes(self) -> set[int]:
        """Return all processes of the cluster, those of jobs included."""
        return guardian.belonging(self.root)

    def processes_of(self, job: str) -> set[int]:
        """Return the users' processes of a job, those that nobody watches any more included."""
        found: set[int] = set()
        for pid in self.processes():
            with suppress(OSError):
                environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if f"SLURM_JOB_ID={job}".encode() in environ:
                    found.add(pid)
        return found

    def kill_unnoticed(self, jobs: Sequence[str]) -> None:
        """Kill the processes of jobs so that none notes another's end, nor Slurm one but the last.

        Once a batch script has ended, slurmstepd sends SIGTERM to what is left, and a wrapper
        would record that: so all are stopped first, and children go before their parents.
        """
        stopped: list[int] = []
        while found := set().union(*map(self.processes_of, jobs)).difference(stopped):
            for pid in sorted(found, key=guardian.began):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        for pid in sorted(stopped, key=guardian.began, reverse=True):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_munge(self) -> None:
        if self.pid("munged") is not None:
            return
        run = self.root / "run"
        self.run(
            "munged",
            "--force",
            f"--key-file={self.root}/munge/key",
            f"--socket={run}/munge.socket",
            f"--pid-file={run}/munged.pid",
            f"--log-file={self.root}/log/munged.log",
            f"--seed-file={self.root}/munge/seed",
            "--num-threads=4",
        )
        wait_until(
            lambda: (
                self.run("munge", "-n", "-S", f"{run}/munge.socket", check=False).returncode == 0
            ),
            lambda: f"munged: {self.log('munged')}",
        )

    def start_controller(self) -> None:
        """Start slurmctld where it does not run, and wait until it answers."""
        if self.pid("slurmctld") is None:
            self.run("slurmctld")
        wait_until(self.answers, lambda: f"slurmctld: {self.log('slurmctld')}")

    def kill_controller(self) -> None:
        """Kill slurmctld, as a crash does.

        It writes its state down some 5 seconds after each change: jobs that were submitted in the
        last seconds are forgotten when it comes back, and their ids are given again.
        """
        self._kill("slurmctld", signal.SIGKILL)

    def stop_controller(self) -> None:
        """Stop slurmctld for good, as for maintenance: it writes its state down before it ends."""
        self._kill("slurmctld", signal.SIGTERM)
        wait_until(lambda: self.pid("slurmctld") is None, "the end of slurmctld")

    def pause_controller(self) -> None:
        """Stop slurmctld, so that it takes connections but never answers."""
        self._kill("slurmctld", signal.SIGSTOP)

    def continue_controller(self) -> None:
        self._kill("slurmctld", signal.SIGCONT)

    def answers(self) -> bool:
        """Whether slurmctld answers."""
        done = self.run("scontrol", "ping", check=False)
        return done.returncode == 0 and " UP" in done.stdout

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node where it does not run."""
        if self.pid(f"slurmd.{node}") is None:
            (self.root / "spool" / node).mkdir(exist_ok=True)
            self.run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill slurmd and its stepds of a node; processes of users live on, which nobody watches.

        The controller finds out after `slurmd_timeout` seconds, and then some.
        """
        for pid in self._stepds(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._kill(f"slurmd.{node}", signal.SIGKILL)
        for pid in self._stepds(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def set_node(self, node: str, state: str) -> None:
        """Set a node "down", "drain" or "resume"; down ends its jobs at once."""
        self.run("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def node_states(self) -> Mapping[str, str]:
        """Return the state of each node, such as `idle` or `down*`."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def wait_idle(self, nodes: Sequence[str] = ()) -> None:
        """Wait until nodes, by default all, have nothing to do and can be given something."""
        wanted = nodes or self.nodes

        def idle() -> bool:
            states = self.node_states()
            return all(states.get(node) == "idle" for node in wanted)

        wait_until(
            idle, lambda: f"idle nodes: {self.node_states()}; slurmctld: {self.log('slurmctld')}"
        )

    def start_database(self) -> None:
        """Start MariaDB where it does not run, with an empty database the first time."""
        if self._ports is None:
            raise ClusterError("not started")
        data, run, log = self.root / "db", self.root / "run", self.root / "log"
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        socket = f"{run}/mysql.sock"
        if user:
            shutil.chown(data, "mysql")
            run.chmod(0o1777)
        if not (data / "mysql").is_dir():
            self.run(
                "mariadb-install-db",
                "--no-defaults",
                *user,
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            )
        if self.pid("mariadb") is None:
            with (log / "mariadb.log").open("ab") as out:
                subprocess.run(
                    [
                        "setsid",
                        "--fork",
                        "mariadbd",
                        "--no-defaults",
                        *user,
                        f"--datadir={data}",
                        f"--socket={socket}",
                        "--bind-address=127.0.0.1",
                        f"--port={self._ports[DATABASE]}",
                        "--skip-name-resolve",
                        f"--pid-file={run}/mariadb.pid",
                        "--innodb-buffer-pool-size=64M",
                        "--innodb-lock-wait-timeout=900",
                        "--innodb-flush-log-at-trx-commit=0",
                        "--innodb-flush-method=nosync",
                        "--skip-log-bin",
                    ],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd="/",
                    check=True,
                    timeout=PATIENCE,
                )
        prepare = (
            "create database if not exists slurm_acct_db;"
            "create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';"
            "grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';"
        )
        client = ["mariadb", "--no-defaults", "-uroot", "-S", socket, "-e", prepare]
        wait_until(
            lambda: self.run(*client, check=False).returncode == 0,
            lambda: f"MariaDB: {self.log('mariadb')}",
        )

    def start_database_daemon(self) -> None:
        """Start slurmdbd where it does not run, and wait until it answers."""
        if self.pid("slurmdbd") is None:
            self.run("slurmdbd")

        def clusters() -> subprocess.CompletedProcess[str]:
            with suppress(subprocess.TimeoutExpired):
                return self.run("sacctmgr", "-nP", "list", "cluster", check=False, within=5)
            return subprocess.CompletedProcess([], 1, "", "")

        wait_until(lambda: clusters().returncode == 0, lambda: f"slurmdbd: {self.log('slurmdbd')}")

        def known() -> bool:
            if "testbed" in clusters().stdout:
                return True
            # It answers before it can take anything, and says that something is wrong then.
            self.run("sacctmgr", "-i", "add", "cluster", "testbed", check=False)
            return False

        wait_until(known, lambda: f"slurmdbd takes no cluster: {self.log('slurmdbd')}")

    def kill_database_daemon(self) -> None:
        """Kill slurmdbd, as a crash does."""
        self._kill("slurmdbd", signal.SIGKILL)

    def log(self, name: str) -> str:
        """Return the last lines of a log."""
        with suppress(OSError):
            text = (self.root / "log" / f"{name}.log").read_text(errors="replace")
            return "\n".join(text.splitlines()[-5:])
        return "no log"

    def _kill(self, name: str, number: signal.Signals) -> None:
        pid = self.pid(name)
        if pid is None:
            raise ClusterError(f"{name} does not run")
        os.kill(pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: self.pid(name) is None, f"the end of {name}")

    def _stepds(self, node: str) -> list[int]:
        """Return the processes that watch the jobs of a node, by the log that they have open."""
        log = self.root / "log" / f"slurmd.{node}.log"
        found: list[int] = []
        for pid in self.processes():
            with suppress(OSError):
                entry = Path(f"/proc/{pid}")
                if (entry / "cmdline").read_bytes().startswith(b"slurmstepd") and any(
                    fd.readlink() == log for fd in (entry / "fd").iterdir()
                ):
                    found.append(pid)
        return found
