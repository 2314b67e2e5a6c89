"""A short program that needs numpy."""
# ruff: noqa: PTH123 - as the plain one

import json

import numpy

with open("params.json") as file:
    params = json.load(file)
numpy.save("results.npy", numpy.arange(3) * params["x"])
