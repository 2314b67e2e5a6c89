"""What is ordered from a host for one attempt of a run."""

from __future__ import annotations

import shlex
import uuid
from typing import TYPE_CHECKING

from multirun_core._staging.elsewhere import command_of
from multirun_core._transport.wrapper import Order

from multirun_ssh.job import Job
from multirun_ssh.luggage import PYTHON

if TYPE_CHECKING:
    from multirun_core._model.policy import Policy
    from multirun_core._model.run import Run

    from multirun_ssh.station import Station


def order_job(run: Run, station: Station, limits: Policy, python: str | None) -> Job:
    """Return the job of a run's next attempt on a host.

    Args:
        run: the run.
        station: the host.
        limits: what holds for the run.
        python: what stands for `python` there.
    """
    settings, token = station.settings, uuid.uuid4().hex
    attempt = run.attempts + (run.status == "pending")
    number = f"b{id(run):x}" if run.index is None else f"{run.index:06d}"
    folder = str(run.cwd.parent) if settings.shared else station.folder
    # An orphan of an earlier attempt, or of another driver's, has another directory.
    name = run.cwd.name if settings.shared else f"{number}.{attempt}-{token[:8]}"
    env = {**run.environment, **limits.env}
    env.pop("MULTIRUN_RUN_DIR", None)
    path = shlex.quote(f"{station.luggage}/{PYTHON}")
    order = Order(
        cmd=command_of(run, python),
        attempt=attempt,
        token=token,
        index=run.index,
        env=env,
        setup=(*settings.setup, f"export PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}}"),
        timeout=limits.timeout,
        grace=limits.grace,
        log=f"{station.folder}/log",
    )
    order = station.warming.take(order, run.cwd)
    return Job(
        run=run,
        host=station.name,
        dir=f"{folder}/{name}",
        attempt=attempt,
        token=token,
        source=run.cwd,
        grace=limits.grace,
        order=order.render(),
        warm=order.warm is not None,
        shared=settings.shared,
    )
