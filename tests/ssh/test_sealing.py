"""AES in GCM as asyncssh would do it, and with real hosts, which exchange keys meanwhile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from asyncssh import encryption
from asyncssh.crypto import GCMCipher
from multirun_ssh.sealing import PreparedGCM, install
from pools import Pool
from ssh_bed import SSHBed
from ssh_host import Host


@pytest.mark.parametrize("size", [16, 32])
def test_it_does_what_asyncssh_does(size: int) -> None:
    name, key = f"aes{8 * size}-gcm", os.urandom(size)
    iv = os.urandom(4) + b"\xff" * 7 + b"\xfe"  # the counter begins anew soon
    ours, theirs = PreparedGCM(name, key, iv), GCMCipher(name, key, iv)
    reading, other = PreparedGCM(name, key, iv), GCMCipher(name, key, iv)
    seen = set[bytes]()
    for number in range(5):
        header, data = number.to_bytes(4, "big"), os.urandom(1000)
        sent = b"".join(ours.encrypt_and_sign(header, data))
        assert sent == b"".join(theirs.encrypt_and_sign(header, data))
        assert reading.verify_and_decrypt(header, sent[4:-16], sent[-16:]) == data
        assert other.verify_and_decrypt(header, sent[4:-16], sent[-16:]) == data
        seen.add(b"".join(ours.encrypt_and_sign(b"same", bytes(100))))
        for one in (theirs, reading, other):
            one.encrypt_and_sign(b"same", bytes(100))
    assert len(seen) == 5
    wrong = bytes([sent[4] ^ 1]) + sent[5:-16]
    assert reading.verify_and_decrypt(header, wrong, sent[-16:]) is None
    assert reading.verify_and_decrypt(header, sent[4:-16], bytes(16)) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"])
async def test_hosts_understand_it_through_exchanges_of_keys(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], cipher: str
) -> None:
    config = tmp_path / "config"
    lines = f"Ciphers {cipher}\nRekeyLimit 1M\n"
    config.write_text(lines + bed.ssh_config.read_text())
    data = os.urandom(5_000_000)

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 700_001):
            yield data[start : start + 700_001]

    got = bytearray()

    async def take(block: bytes) -> None:
        got.extend(block)

    async with Pool(bed)(hosts[0].name, ssh_config=config) as (one,):
        assert encryption.GCMCipher is PreparedGCM
        done = await one.run(["cat"], stdin=blocks(), stdout=take, timeout=60)
        assert done.code == 0
        told = await one.run(["sha256sum"], stdin=data, timeout=60)
    assert bytes(got) == data
    assert told.stdout.split()[0].decode() == sha256(data).hexdigest()


def test_an_asyncssh_that_has_another_one_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = encryption

    class Later(GCMCipher):
        def encrypt_and_sign(  # type: ignore[override]
            self, header: bytes, data: bytes, seq: int
        ) -> tuple[bytes, bytes]:
            raise NotImplementedError

    class Larger(GCMCipher):
        def rekey(self) -> None:
            raise NotImplementedError

    for other in (object(), Later, Larger):
        if isinstance(other, type):
            other.__module__ = GCMCipher.__module__
        monkeypatch.setattr(module, "GCMCipher", other)
        install()
        assert module.GCMCipher is other
    monkeypatch.setattr(module, "GCMCipher", GCMCipher)
    install()
    assert module.GCMCipher is PreparedGCM
