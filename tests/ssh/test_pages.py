"""The reference tells all options, and all errors."""

from __future__ import annotations

import re
from pathlib import Path

from multirun_core._options import options_of
from multirun_core._registry import Registry
from multirun_core.errors import TransportError
from multirun_ssh.hosts import parse_host

from multirun_ssh import errors

TEXT = (Path(__file__).parents[2] / "docs/reference/ssh.md").read_text()


def test_every_option_is_told() -> None:
    for name in options_of(Registry().factory("ssh")).known:
        assert re.search(rf"`{name}`", TEXT), name


def test_every_error_is_told() -> None:
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, TransportError):
            assert f"| `{error.__name__}` |" in TEXT


def test_hosts_are_written_as_is_told() -> None:
    table = TEXT.partition("## How hosts are written")[2].partition("## Options")[0]
    for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for written in re.findall(r"`([^`]*)`", line):
            if written[0] not in "@{":
                assert parse_host(written)
