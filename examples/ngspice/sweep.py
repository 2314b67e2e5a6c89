"""The cut-off frequency of an RC filter for a grid of R and C, by ngspice."""

from __future__ import annotations

import math
import re
import shutil
import sys
from pathlib import Path

from multirun_core import Run, multirun

HERE = Path(__file__).resolve().parent
RESISTANCES = (1e3, 2.2e3, 4.7e3, 1e4)  # ohm
CAPACITANCES = (1e-9, 4.7e-9, 1e-8)  # farad


def cutoff(run: Run) -> float:
    """Return the frequency in Hz that ngspice printed."""
    found = re.findall(r"^cutoff = (\S+)", run.stdout.read_text(), re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"ngspice printed no cut-off frequency; see {run.stdout} and {run.stderr}")
    return float(found[0])


def main() -> None:
    if shutil.which("ngspice") is None:
        sys.exit("ngspice is not installed; on Debian and Ubuntu: sudo apt-get install ngspice")
    sweep = multirun(
        runs=[{"resistance": r, "capacitance": c} for r in RESISTANCES for c in CAPACITANCES],
        cmd=[
            *("ngspice", "-b", "-D", "resistance={resistance}", "-D", "capacitance={capacitance}"),
            "lowpass.cir",
        ],
        input_files=[HERE / "lowpass.cir"],
        output_path=sys.argv[1] if len(sys.argv) > 1 else None,
        check=True,
    )
    print("   R ohm      C farad      ngspice Hz   1/(2 pi R C) Hz")
    for run in sweep.runs:
        r, c = run.params["resistance"], run.params["capacitance"]
        print(f"{r:8.0f} {c:12.2e} {cutoff(run):15.2f} {1 / (2 * math.pi * r * c):17.2f}")
    print(f"All of it is in {sweep.path}")


if __name__ == "__main__":
    main()
