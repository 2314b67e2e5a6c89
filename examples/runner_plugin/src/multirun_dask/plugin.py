"""What multirun asks when it looks for runners; imports nothing heavy."""

from multirun_core.plugins import RunnerSpec, hookimpl


@hookimpl
def multirun_register_runners() -> list[RunnerSpec]:
    """Return the runner of this distribution."""
    return [RunnerSpec("dask", "multirun_dask.runner:DaskRunner", "Run on a Dask cluster")]
