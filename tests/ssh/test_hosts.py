"""What users write for hosts, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core.errors import RunnerOptionError
from multirun_ssh.hosts import Host, find_hosts, parse_host, read_hosts_file

from multirun_ssh import SSHRunner

MEANT = {
    "node1": Host("node1"),
    "node2:8": Host("node2", slots=8),
    "me@gpu:2222": Host("gpu", user="me", port=2222),
    "me@node:8": Host("node", user="me", slots=8),
    "gpu:2222": Host("gpu", port=2222),
    "node:1023": Host("node", slots=1023),
    "node:1024": Host("node", port=1024),
    "node:auto": Host("node", slots="auto"),
    "node slots=2000": Host("node", slots=2000),
    "node:2222 slots=4": Host("node", port=2222, slots=4),
    "node port=443 user=me": Host("node", user="me", port=443),
    "ssh://me@gpu:443": Host("gpu", user="me", port=443),
    "ssh://gpu/ slots=3": Host("gpu", slots=3),
    "me@realm@node": Host("node", user="me@realm"),
    "::1": Host("::1"),
    "[::1]:8": Host("::1", slots=8),
    "me@[fe80::1%eth0]:2222": Host("fe80::1%eth0", user="me", port=2222),
    "ssh://[2001:db8::5]:22": Host("2001:db8::5", port=22),
    "10.0.0.7:16": Host("10.0.0.7", slots=16),
    "a_b.c-d.example": Host("a_b.c-d.example"),
}


@pytest.mark.parametrize("text", MEANT)
def test_a_host_is_what_is_meant(text: str) -> None:
    assert parse_host(text) == [MEANT[text]]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "is no host"),
        ("node:", "slots '' is not a number"),
        ("node:0", "slots '0' is not a number"),
        ("node:-1", "slots '-1'"),
        ("node:70000", "port '70000' is not a port"),
        ("node:²", "slots '²'"),
        ("-oProxyCommand=evil", "is no name of a host"),
        ("a b", "'b' is no NAME=VALUE"),
        ("node cores=4", "a host has no 'cores'"),
        ("node;reboot", "is no name of a host"),
        ("-l@node", "'-l' is no name of a user"),
        ("@node", "'' is no name of a user"),
        ("http://node", "http:// is not ssh://"),
        ("node[3-1]", "write the lower number first"),
        ("node[1-99999999]", "more than 10000 hosts"),
        ("8/node", "is no name of a host"),
        ("no\nde", "'de' is no NAME=VALUE"),
    ],
)
def test_what_is_no_host_is_refused(wrong: str, why: str) -> None:
    with pytest.raises(RunnerOptionError, match="is no host") as caught:
        parse_host(wrong)
    assert why in str(caught.value)


def test_a_pattern_is_several_hosts() -> None:
    assert [str(one) for one in parse_host("me@node[1-3,07-8]:2222 slots=2")] == [
        f"me@node{number}:2222" for number in ("1", "2", "3", "07", "08")
    ]
    assert len(parse_host("rack[1-2]node[1-4]")) == 8


def test_a_mapping_is_a_host() -> None:
    wanted = Host("gpu", user="me", port=2222, slots=4)
    assert parse_host({"host": "gpu", "user": "me", "port": 2222, "slots": 4}) == [wanted]
    for wrong in ({"slots": 2}, {"host": "a", "slots": True}, {"host": "a", "port": "x"}):
        with pytest.raises(RunnerOptionError):
            parse_host(wrong)


def test_one_text_may_name_several() -> None:
    assert find_hosts("node1, node[3,5]:8,me@gpu:2222 slots=2") == [
        Host("node1"),
        Host("node3", slots=8),
        Host("node5", slots=8),
        Host("gpu", user="me", port=2222, slots=2),
    ]


def test_a_file_has_groups(tmp_path: Path) -> None:
    file = tmp_path / "the lab's hosts"
    file.write_text(
        "# the lab\nnode1:8   # by the door\n\n[gpu]\nme@gpu[1-2] slots=1\n"
        "[ cpu ]\nnode2\nnode1:8\n[::1]:4\n"
    )
    node1, node2 = Host("node1", slots=8), Host("node2")
    gpus = [Host("gpu1", user="me", slots=1), Host("gpu2", user="me", slots=1)]
    local = Host("::1", slots=4)
    assert read_hosts_file(file) == {"": [node1], "gpu": gpus, "cpu": [node2, node1, local]}
    assert find_hosts((), file) == [node1, *gpus, node2, local]
    assert find_hosts(["@gpu", "node9"], file) == [*gpus, Host("node9")]
    with pytest.raises(RunnerOptionError, match="no group '@gpus'; its groups: @gpu, @cpu"):
        find_hosts("@gpus", file)
    with pytest.raises(RunnerOptionError, match="no hosts_file was given"):
        find_hosts("@gpu")


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("node1\nnode2 eight\n")
    with pytest.raises(RunnerOptionError, match=r"hosts, line 2: 'node2 eight' is no host"):
        find_hosts((), file)
    with pytest.raises(RunnerOptionError, match="cannot be read"):
        find_hosts((), tmp_path / "none")


def test_hosts_must_be_given_and_once() -> None:
    with pytest.raises(RunnerOptionError, match="no hosts were given"):
        find_hosts()
    with pytest.raises(RunnerOptionError, match=r"node1 is given twice.*'node1 slots=2'"):
        find_hosts(["node1:8", "node1"])


@given(st.text())
def test_any_text_is_hosts_or_refused(text: str) -> None:
    try:
        hosts = parse_host(text)
    except RunnerOptionError:
        return
    for host in hosts:
        assert not host.name.startswith("-")
        assert not set(host.name) & set(" \t\n;&|$`'\"\\@")


@given(
    st.builds(
        Host,
        st.sampled_from(["node1", "10.0.0.1", "::1", "fe80::1%eth0"]),
        st.sampled_from([None, "me"]),
        st.one_of(st.none(), st.integers(1, 65535)),
    )
)
def test_a_host_reads_as_it_is_shown(host: Host) -> None:
    assert parse_host(str(host)) == [host]


def test_a_runner_needs_two_sessions() -> None:
    """One follows the runs for as long as the host is connected."""
    with pytest.raises(RunnerOptionError, match="sessions is 1; a host needs two"):
        SSHRunner(hosts="node1", sessions=1)


def test_the_runner_says_what_its_options_are(tmp_path: Path) -> None:
    from multirun_core._options import options_of, parse_option_text
    from multirun_core._registry import Registry

    spec = Registry().resolve("ssh")
    options = options_of(spec.load())
    assert not options.open
    assert all(option.help for option in options.known.values())
    wanted: dict[str, Any] = {
        "hosts=node1,node2:8": "node1,node2:8",
        'hosts=["node1", {"host": "a"}]': ["node1", {"host": "a"}],
        "known_hosts=none": None,
        "known-hosts=default": "default",
        "known_hosts=/etc/keys": Path("/etc/keys"),
        "slots=auto": "auto",
        "slots=3": 3,
        "fetch=*.csv,out/**": ["*.csv", "out/**"],
    }
    for text, value in wanted.items():
        assert parse_option_text(spec, text) == (text.partition("=")[0].replace("-", "_"), value)
