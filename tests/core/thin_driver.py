"""A driver that kills itself while it thins or removes: `thin_driver.py WHAT ROOT WHERE`.

WHAT is "run" (a sweep that keeps only results), "clean" or "remove" (of a sweep that is there).
WHERE "count" prints how many moments there are; a number kills this process at that moment, which
is before or after a call that removes a name or changes a mode.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from multirun_core import multirun

LARGE = "x" * 6000
# Leaves what is hard to remove; the runs 1 and 2 post more than the journal takes, 3 fails.
PROGRAM = [
    "sh",
    "-c",
    """
    echo "$MULTIRUN_INDEX" >> "$MARKS"
    mkdir -p "scratch/locked dir"; echo x > "scratch/locked dir/$(printf 'a\\nb')"
    chmod 500 "scratch/locked dir"; ln -s / root; echo printed; echo failed >&2
    case {n} in 1|2) more=LARGE;; *) more=;; esac
    echo "{\\"n\\": {n}, \\"more\\": \\"$more\\"}" > results.tmp && mv results.tmp results.json
    test {n} != 3
    """.replace("LARGE", LARGE),
]
RUNS = [{"n": n} for n in range(4)]


def expected(n: int) -> dict[str, Any]:
    """What run `n` posts."""
    return {"n": n, "more": LARGE if n in (1, 2) else ""}


def run(root: Path, **more: Any) -> Any:
    """Carry the sweep out, or on."""
    return multirun(
        runs=RUNS, cmd=PROGRAM, output_path=root, resume=True, progress=False,
        runner_options={"max_parallel": 2}, runner="local", **{"keep": "results", **more},
    )  # fmt: skip


def watch(fatal: int | None) -> itertools.count[int]:
    """Count the moments, and die at one of them."""
    counter = itertools.count(1)
    me = os.getpid()

    def moment() -> None:
        if next(counter) == fatal and os.getpid() == me:
            os.kill(me, signal.SIGKILL)

    def wrap(name: str) -> None:
        original = getattr(os, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            moment()
            try:
                return original(*args, **kwargs)
            finally:
                moment()

        setattr(os, name, wrapped)

    for name in ("unlink", "rmdir", "chmod"):
        wrap(name)
    return counter


def main() -> None:
    what, root, where = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    counter = watch(None if where == "count" else int(where))
    if what == "run":
        run(root)
    else:
        from multirun_core._sweep import cleaning

        if what == "clean":
            cleaning.thin_sweep(root, "results")
        else:
            cleaning.remove_sweep(root)
    print(next(counter) - 1)


if __name__ == "__main__":
    main()
