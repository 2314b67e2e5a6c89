"""How far does a ball fly that is thrown against drag and wind?

One run of a Monte Carlo study: the parameters are in, the results are out, and everything between
is an ordinary program. Copy it, and put your own model in the place of `fly`.
"""

import math

from multirun_core import getRunParams, postRunResults

MASS, AREA, DRAG = 0.145, 0.0042, 0.35  # kg, m2, drag coefficient: about a baseball
AIR, GRAVITY = 1.2, 9.81  # kg/m3, m/s2
STEP = 4e-4  # s


def fly(speed: float, angle: float, wind: float) -> tuple[float, float, float]:
    """Return range (m), greatest height (m) and time of flight (s)."""
    x, y, highest, steps = 0.0, 1.0, 1.0, 0
    vx = speed * math.cos(math.radians(angle))
    vy = speed * math.sin(math.radians(angle))
    while y > 0:
        relative = vx - wind
        drag = 0.5 * AIR * DRAG * AREA / MASS * math.hypot(relative, vy)
        vx -= drag * relative * STEP
        vy -= (drag * vy + GRAVITY) * STEP
        x += vx * STEP
        y += vy * STEP
        highest = max(highest, y)
        steps += 1
    return x, highest, steps * STEP


params = getRunParams()
distance, height, duration = fly(params["speed"], params["angle"], params["wind"])
postRunResults({"distance": distance, "height": height, "duration": duration})
print(f"{params} -> {distance:.2f} m")  # noqa: T201 - it goes to stdout.txt
