"""Whether a person can be asked, and what a driver does that has no terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
from ssh_bed import SSHBed
from ssh_host import PATIENCE, Host

ASKED = "from multirun_ssh.login import has_terminal; print(has_terminal())"
ON_A_TERMINAL = ["setsid", "--ctty"]  # that of its standard input
IN_BACKGROUND = ["sh", "-c", 'set -m; "$@" & wait', "sh"]

DRIVER = """
import asyncio, sys
from pathlib import Path
from multirun_ssh.errors import LoginNeedsPersonError
from multirun_ssh.hosts import find_hosts
from multirun_ssh.options import Connecting
from multirun_ssh.transport import open_pool

async def main():
    how = Connecting(transport="openssh", ssh_config=Path(sys.argv[1]))
    (one,) = open_pool(find_hosts("node1"), how).values()
    try:
        await one.run(["true"], timeout=30)
    except LoginNeedsPersonError as error:
        print(error)
    await one.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("where", "there_is"),
    [
        pytest.param(ON_A_TERMINAL, True, id="on a terminal"),
        pytest.param([*ON_A_TERMINAL, *IN_BACKGROUND], False, id="in its background"),
        pytest.param(["setsid"], False, id="in a session of its own"),
    ],
)
def test_a_person_can_be_asked_on_a_terminal_alone(where: list[str], there_is: bool) -> None:
    near, far = os.openpty()
    try:
        done = subprocess.run(
            [*where, sys.executable, "-c", ASKED],
            stdin=far,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    finally:
        os.close(near)
        os.close(far)
    assert done.stdout == f"{there_is}\n"


@pytest.mark.namespaces
@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", ["openssh"], indirect=True)
def test_a_driver_in_a_session_of_its_own_says_what_to_type(bed: SSHBed, host: Host) -> None:
    host.restart_sshd("PasswordAuthentication yes", "AuthenticationMethods password")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(bed.ssh_config)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
        start_new_session=True,
    )
    assert "there is no terminal here. Log in by hand" in done.stdout
    assert f"ssh -F {shlex.quote(str(bed.ssh_config))} " in done.stdout
