"""Blocking work in threads: it can be told to stop, and keeps nobody from ending."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")
_MOST = min(32, (os.cpu_count() or 1) + 4)
_STOP_SECONDS = 1.0


class Stopped(BaseException):
    """Raised in blocking work by `checkpoint` when nobody waits for it any longer."""


class Threads(Executor):
    """Daemon threads, each of which ends when there has been nothing to do for a while.

    Those of `ThreadPoolExecutor` refuse work once the main thread has ended, although a sweep may
    go on in another thread; and the interpreter's exit waits for them, even for one that hangs on
    a dead disk.
    """

    def __init__(self, most: int, name: str, linger: float = 0.0) -> None:
        """Let at most so many threads work at a time.

        Args:
            most: how many.
            name: what they are called.
            linger: seconds that one waits for further work, unless they are shut down.
        """
        self._most = most
        self._name = name
        self._linger = linger
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._idle = 0
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Have a function called in a thread.

        Raises:
            RuntimeError: they have been shut down, or the system has no thread to give.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads {self._name} have been shut down")
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._idle >= len(self._waiting):
                self._more.notify()
            elif len(self._threads) < self._most:
                self._start()
        return future

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            if not self._threads:  # otherwise one of them will come to it
                self._waiting.pop()
                raise

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting and self._linger and not self._closed:
                    self._idle += 1
                    self._more.wait(self._linger)
                    self._idle -= 1
                if not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return
                future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, work  # a thread that waits for the lock must not keep them alive

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further work; with `wait`, return when what there is has been done."""
        with self._lock:
            self._closed = True
            self._more.notify_all()
            threads = list(self._threads)
            dropped = [future for future, _ in self._waiting] if cancel_futures else []
        for future in dropped:
            future.cancel()
        if wait:
            for thread in threads:
                thread.join()


class _Ticket:
    """What one piece of blocking work and who waits for it know of each other."""

    def __init__(self, tally: Callable[[int], object] | None) -> None:
        self.unwanted = False
        self.tally = tally


_ticket: ContextVar[_Ticket | None] = ContextVar("multirun_ticket", default=None)


def checkpoint(done: int = 0) -> None:
    """Say that so many bytes more are done, and stop here if nobody waits for the rest.

    Blocking work that may take long calls this between two steps, each of them short.

    Raises:
        Stopped: the work is to be given up; what it has begun is to be cleared away.
    """
    ticket = _ticket.get()
    if ticket is None:
        return
    if ticket.unwanted:
        raise Stopped
    if done and ticket.tally is not None:
        ticket.tally(done)


class Work:
    """The blocking work of one sweep, off its event loop."""

    def __init__(self) -> None:
        """Prepare; nothing is started yet."""
        self._threads = Threads(_MOST, "multirun-work")
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Wait no longer for work that is given up but does not stop; in the event loop."""
        self._hurried.set()

    async def do(self, work: Callable[[], _T], tally: Callable[[int], object] | None = None) -> _T:
        """Run blocking work to its end. Cancelled, tell it to stop, and return when it has.

        Work that hangs, as on a network disk that is gone, is left behind after `hurry`.

        Args:
            work: what to do; any `checkpoint` in it may raise `Stopped`.
            tally: is told of the bytes that are done, in the thread.
        """
        ticket = _Ticket(tally)
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(_carry_out, ticket, work)
        )
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            ticket.unwanted = True
            await self._see_off(future)
            raise
        return future.result()

    async def _see_off(self, future: asyncio.Future[Any]) -> None:
        """Wait for the end of work that has been told to stop, whatever cancels this meanwhile."""
        hurried = asyncio.ensure_future(self._hurried.wait())
        patience = None
        try:
            while not future.done():
                try:
                    done, _ = await asyncio.wait(
                        [future] if hurried.done() else [future, hurried],
                        timeout=patience,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                except asyncio.CancelledError:
                    continue
                if not done:
                    break
                patience = _STOP_SECONDS
        finally:
            hurried.cancel()
            future.add_done_callback(heard)


def _carry_out(ticket: _Ticket, work: Callable[[], _T]) -> _T:
    token = _ticket.set(ticket)
    try:
        return work()
    finally:
        _ticket.reset(token)


def heard(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from complaining about an error that nobody waits for; a callback."""
    if not future.cancelled():
        future.exception()
