"""The command-line program `multirun`; one module a command, imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status.

    0 when all went well, 1 when a run failed or the sweep could not go on, 2 for wrong use;
    130, 143 and 129 after SIGINT, SIGTERM and SIGHUP.
    """
    try:
        from multirun_core._cli.program import carry_out

        return carry_out(arguments)
    except KeyboardInterrupt:  # while it was still starting
        return 130
