"""An event loop with an end: a runner that hangs fails its check instead of stopping all."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
_CLEANUP_SECONDS = 10.0


def run_bounded(work: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Do as `asyncio.run`, but wait for nothing without a bound.

    Raises:
        AssertionError: the work did not end in time. It has been cancelled.
    """
    __tracebackhide__ = True
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    try:
        return _wait(loop, task, seconds)
    except BaseException:
        # The failure is told; errors of tasks that nobody waits for any more would hide it.
        loop.set_exception_handler(lambda _loop, _context: None)
        raise
    finally:
        _end(loop)


def _wait(loop: asyncio.AbstractEventLoop, task: asyncio.Task[_T], seconds: float) -> _T:
    __tracebackhide__ = True
    loop.run_until_complete(asyncio.wait([task], timeout=seconds))
    if task.done():
        return task.result()
    waits = "".join(f"\n           {line}" for line in sorted(_places(loop)))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task], timeout=_CLEANUP_SECONDS))
    how = "was then cancelled" if task.done() else "cannot be cancelled either"
    raise AssertionError(
        f"promised: it ends\n     seen: not within {seconds:g} s; it {how}; "
        f"its tasks waited in{waits}"
    )


def _places(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Say for each task which functions wait for which, as far as Python tells."""
    for task in asyncio.all_tasks(loop):
        names: list[str] = []
        waiting: Any = task.get_coro()
        while inspect.iscoroutine(waiting):
            frame = waiting.cr_frame
            line = frame.f_lineno if frame is not None else 0
            names.append(f"{waiting.__qualname__}:{line}")
            waiting = waiting.cr_await
        yield f"{task.get_name()}: {' > '.join(names)} > {type(waiting).__name__}"


def _end(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_CLEANUP_SECONDS))
    for ending in (loop.shutdown_asyncgens, loop.shutdown_default_executor):
        task = loop.create_task(ending())
        loop.run_until_complete(asyncio.wait([task], timeout=_CLEANUP_SECONDS))
    loop.close()
