"""The fault checks against a runner whose runs outlive their driver."""

from __future__ import annotations

from typing import ClassVar

from kit_bad_faults import Bad, Detached, WithState


class TestDetached(WithState):
    __test__ = True
    runner: ClassVar[type[Bad]] = Detached
    ends_whole_trees: ClassVar[bool] = False
