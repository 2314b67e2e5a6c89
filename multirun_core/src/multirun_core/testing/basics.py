"""All basic checks in one class."""

from __future__ import annotations

from multirun_core.testing.base import KitBase


class BasicChecks(KitBase):
    """What a runner promises while nothing breaks."""
