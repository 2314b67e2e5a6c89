"""Rosenbrock's valley, whose lowest point, 0, is at x = y = 1: stands for a costly simulation."""

from __future__ import annotations

from multirun_core import getRunParams, postRunResults

params = getRunParams()
x, y = params["x"], params["y"]
postRunResults({"height": (1 - x) ** 2 + 100 * (y - x * x) ** 2})
