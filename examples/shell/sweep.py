"""How well lines of numbers pack at each level of gzip, measured by a shell script."""

from __future__ import annotations

import sys
from pathlib import Path

from multirun_core import multirun

HERE = Path(__file__).resolve().parent
LINES = (1_000, 100_000)
LEVELS = (1, 6, 9)


def main() -> None:
    sweep = multirun(
        runs=[{"lines": lines, "level": level} for lines in LINES for level in LEVELS],
        cmd=["sh", "pack.sh"],
        input_files=[HERE / "pack.sh"],
        output_path=sys.argv[1] if len(sys.argv) > 1 else None,
        check=True,
    )
    print("   lines  level     bytes    packed")
    for run in sweep.runs:
        print(
            f"{run.params['lines']:8d} {run.params['level']:6d} "
            f"{run.result['bytes']:9d} {run.result['packed_bytes']:9d}"
        )
    print(f"All of it is in {sweep.path}")


if __name__ == "__main__":
    main()
