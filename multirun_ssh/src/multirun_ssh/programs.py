"""Whether a host has a program, found out before the first run there."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from multirun_core._transport.shell import exports

if TYPE_CHECKING:
    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

_LACKS = 42
_CHECK = """
case $1 in
/*) [ -f "$1" ] && [ -x "$1" ] ;;
*) command -v -- "$1" >/dev/null ;;
esac || exit 42
exit 0
"""


async def lack(station: Station, program: str, env: Mapping[str, str]) -> str | None:
    """Return why a host cannot execute a program; None where it can.

    Args:
        station: the host.
        program: as it stands in the command.
        env: variables of the run.

    Raises:
        TransportError: the connection was lost.
    """
    variables, _ = exports(env)
    setup = "".join(f"{line}\n" for line in station.settings.setup)
    text = (
        f"{variables}{{ {setup or ':'}\n}} </dev/null >/dev/null\n"
        f"set -- {shlex.quote(program)}\n{_CHECK}"
    )
    done = await station.run(["sh"], stdin=text.encode("utf-8", "surrogateescape"))
    if done.code != _LACKS:
        return None  # the run itself will tell
    where = "there is no such executable file" if program.startswith("/") else "not on the PATH"
    told = f"{station.name} has no program {program!r} ({where})"
    _log.warning("%s: runs of it do not go there", told)
    return told
