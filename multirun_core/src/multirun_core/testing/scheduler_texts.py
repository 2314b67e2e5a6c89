"""What no queue system should print, and does: garbage, messages, and real text that was damaged.

All of it is the same in each run of the tests, so that what fails fails again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

MESSAGES = (
    "error: cannot connect to server\n",
    "Connection timed out (110)\n",
    "Communication failure.\ncannot connect to server node1 (errno=15007): Unauthorized\n",
    "Unable to contact controller; retry in 30 seconds\n",
    "sh: 1: status: not found\n",
    "You have 12 jobs; the limit is 100.\n",
    "Kerberos ticket expires in 2 days\n",
    "<html><body><h1>503 Service Unavailable</h1></body></html>\n",
    'Traceback (most recent call last):\n  File "/usr/bin/q", line 7, in main\nKeyError: 5\n',
    "Killed\n",
    "null\n",
    "*** node1 goes down at 18:00 for maintenance ***\n",
)
"""What commands say in place of what was asked, with exit status 0 at times."""

# Numbers that are none, none of this world, or not for `int`; and what parsers fall over.
_WORDS = (
    "", " ", "\u00b2", "\u0663", "\u216b", "9" * 5000, "-1", "1e999", "nan", "inf", "0x1f", "1_0",
    "None", "(null)", "N/A", "\0", "\ufffd", "\x1b[31m", "\u2028", "\r", "\n", "\n\n", "\t", "|",
    "||||||||", ":", ",", "[", "]", "[0-99999999999]", "{}", '"', "'", "\\", "%", "=", "UNKNOWN",
    "a b c d e f g h", "\u4e16\U0001f600",
)  # fmt: skip
_ALPHABET = "0123456789 abcQRES_-|:.,;[](){}\"'\\\n\t/=%$\u00b2\u0663\ufffd\0"
_DAMAGES, _RANDOM, _CUTS = 300, 300, 400


def garbage(samples: Iterable[str]) -> Iterator[str]:
    """Yield texts that are none of a queue system's, and its own with damages.

    Args:
        samples: texts of its own.
    """
    yield from ("", " ", "\n", "\n" * 50, *MESSAGES, *_WORDS, *(f"{word}\n" for word in _WORDS))
    yield "[" * 100_000  # too deep for a parser that calls itself
    yield '{"a":' * 100_000
    chance = random.Random(4)  # noqa: S311 - nothing is kept secret
    for _ in range(_RANDOM):
        yield "".join(chance.choices(_ALPHABET, k=chance.randrange(1, 60))) + "\n"
    for sample in samples:
        words = re.split(r"([A-Za-z0-9]+)", sample)
        for _ in range(_DAMAGES):
            place = chance.randrange(len(words))
            yield "".join([*words[:place], chance.choice(_WORDS), *words[place + 1 :]])
        lines = sample.splitlines(keepends=True)
        for _ in range(_DAMAGES // 3):
            chance.shuffle(lines)
            yield "".join(lines[: chance.randrange(len(lines) + 1)])


def cut_off(sample: str) -> Iterator[str]:
    """Yield the beginnings of a text, shortest first; some of them where it is long."""
    ends = list(range(len(sample)))
    if len(ends) > _CUTS:
        chance = random.Random(4)  # noqa: S311 - nothing is kept secret
        ends = sorted({*chance.sample(ends, _CUTS), *ends[-100:]})
    for end in ends:
        yield sample[:end]


def shown(text: str) -> str:
    """Return a text for a message, its middle left out where it is long."""
    return repr(text if len(text) < 400 else f"{text[:200]} \u2026 {text[-200:]}")
