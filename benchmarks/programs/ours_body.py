"""A short program that takes its parameters and posts its results by multirun_core."""

from multirun_core import getRunParams, postRunResults

params = getRunParams()
postRunResults({"y": params["x"] * 2, "steps": [1, 2, 3]})
