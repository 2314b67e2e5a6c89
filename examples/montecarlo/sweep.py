"""How far a ball flies that is thrown inexactly: 30 throws, each with drag and without."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, quantiles, stdev

from multirun_core import multirun

HERE = Path(__file__).resolve().parent
THROWS = 30
DRAGS = (0.0, 0.01)  # 1/m


def throws() -> Iterator[dict[str, float]]:
    rng = random.Random(20)  # the same throws each time, so that the sweep can be resumed
    for _ in range(THROWS):
        speed, angle = rng.gauss(30.0, 1.0), rng.gauss(45.0, 2.0)
        for drag in DRAGS:
            yield {"speed": speed, "angle_deg": angle, "drag": drag}


def main() -> None:
    sweep = multirun(
        runs=throws(),
        cmd=[sys.executable, "simulate.py"],
        input_files=[HERE / "simulate.py"],
        output_path=sys.argv[1] if len(sys.argv) > 1 else None,
        check=True,
    )
    print("drag 1/m   throws   mean m     sd m    5 % m   95 % m")
    for drag in DRAGS:
        ranges = [run.result["range_m"] for run in sweep.runs if run.params["drag"] == drag]
        cuts = quantiles(ranges, n=20)
        print(
            f"{drag:8.3f} {len(ranges):8d} {mean(ranges):8.2f} {stdev(ranges):8.2f} "
            f"{cuts[0]:8.2f} {cuts[-1]:8.2f}"
        )
    print(f"All of it is in {sweep.path}")


if __name__ == "__main__":
    main()
