"""One flight of a ball, with quadratic drag: what a single run does."""

from __future__ import annotations

import math

from multirun_core import getRunParams, postRunResults

GRAVITY = 9.81  # m/s²
STEP = 0.002  # s

State = tuple[float, float, float, float]  # x, y in m; their rates in m/s


def rates(state: State, drag: float) -> State:
    _, _, u, v = state
    speed = math.hypot(u, v)
    return u, v, -drag * speed * u, -GRAVITY - drag * speed * v


def advance(state: State, drag: float) -> State:
    """One step of the classical Runge-Kutta method."""

    def shifted(slope: State, by: float) -> State:
        x, y, u, v = (a + by * b for a, b in zip(state, slope, strict=True))
        return x, y, u, v

    k1 = rates(state, drag)
    k2 = rates(shifted(k1, STEP / 2), drag)
    k3 = rates(shifted(k2, STEP / 2), drag)
    k4 = rates(shifted(k3, STEP), drag)
    x, y, u, v = (
        a + STEP / 6 * (b + 2 * c + 2 * d + e)
        for a, b, c, d, e in zip(state, k1, k2, k3, k4, strict=True)
    )
    return x, y, u, v


def fly(speed: float, angle_deg: float, drag: float) -> dict[str, float]:
    angle = math.radians(angle_deg)
    state = (0.0, 0.0, speed * math.cos(angle), speed * math.sin(angle))
    apex, steps = 0.0, 0
    while True:
        before, state, steps = state, advance(state, drag), steps + 1
        apex = max(apex, state[1])
        if state[1] < 0:
            break
    # The ball came down within the last step: where its path crosses the ground.
    part = before[1] / (before[1] - state[1])
    return {
        "range_m": before[0] + part * (state[0] - before[0]),
        "apex_m": apex,
        "time_s": (steps - 1 + part) * STEP,
    }


if __name__ == "__main__":
    params = getRunParams()
    postRunResults(fly(params["speed"], params["angle_deg"], params["drag"]))
