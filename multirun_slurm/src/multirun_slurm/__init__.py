"""The Slurm runner of multirun; `runner="slurm"` is how it is used."""

from __future__ import annotations
