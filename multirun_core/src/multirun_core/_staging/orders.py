"""What is in a run directory for the wrapper and from it: the order, and the evidence."""
# ruff: noqa: PTH104, PTH106, PTH108
# As in `files`: each run needs some of these calls.

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from multirun_core._staging.files import names_in, new_part, own_directory, remove, write
from multirun_core._staging.names import PRIVATE
from multirun_core._transport.wrapper import CLAIM, EXIT, ORDER, Event, Order, parse_line


def write_order(directory: str | Path, order: Order) -> None:
    """Put an order into a run directory, whole or not at all; only its owner can read it.

    Raises:
        OSError: there is no room, or the directory cannot be written.
    """
    private = own_directory(f"{directory}/{PRIVATE}")
    aside = new_part(private)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write(fd, order.render())
    finally:
        os.close(fd)
    os.rename(aside, f"{directory}/{ORDER}")


def read_end(directory: str | Path, attempt: int, restart: int = 0) -> Event | None:
    """Return how an attempt ended, as its wrapper wrote it; None where it has written nothing.

    Raises:
        OSError: the file is there and cannot be read.
    """
    suffix = f"-{restart}" if restart else ""
    try:
        text = Path(f"{directory}/{CLAIM}{attempt}{suffix}/{EXIT}").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    event = parse_line(text.decode("utf-8", "replace"))
    return event if event is not None and event.word == "end" else None


def drop_order(directory: str | Path) -> None:
    """Remove order and claims of an attempt whose end has been written down.

    Whoever comes to carry it out once more finds nothing to do. The order goes first, so that
    there is no moment at which it could be claimed again.
    """
    try:
        os.unlink(f"{directory}/{ORDER}")
    except (FileNotFoundError, NotADirectoryError):
        return
    claim = CLAIM.rpartition("/")[2]
    for name in names_in(f"{directory}/{PRIVATE}"):
        if name.startswith(claim):
            remove(f"{directory}/{PRIVATE}/{name}")
    with suppress(OSError):  # attempts that came before are kept there
        os.rmdir(f"{directory}/{PRIVATE}")
