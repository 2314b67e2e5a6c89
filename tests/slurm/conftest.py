"""What the tests of Slurm share: real clusters, each started when a test first asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from login_node import *  # noqa: F403
from slurm_fixtures import *  # noqa: F403

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what talks to real servers more time, their start and their faults included."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))
