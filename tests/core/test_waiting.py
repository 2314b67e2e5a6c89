"""Tasks that end together, and what cannot be cancelled."""

from __future__ import annotations

import asyncio

import pytest
from multirun_core._waiting import Firm, together

pytestmark = pytest.mark.asyncio


async def end_late(reached: asyncio.Event) -> None:
    """Go on until the group ends, and a little longer."""
    try:
        await asyncio.sleep(3600)
    finally:
        reached.set()
        await asyncio.sleep(0.05)


async def fail() -> None:
    raise ValueError("broken")


async def test_the_first_error_is_raised_as_itself() -> None:
    with pytest.raises(ValueError, match="broken"):
        await together(asyncio.sleep(3600), fail())


async def test_one_that_is_cancelled_by_itself_is_no_error() -> None:
    one = asyncio.ensure_future(asyncio.sleep(3600))

    async def end_it() -> None:
        one.cancel()

    await together(one, end_it())


async def test_who_is_cancelled_while_it_breaks_is_cancelled() -> None:
    ending = asyncio.Event()
    working = asyncio.create_task(together(end_late(ending), fail()))
    await ending.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()


async def test_a_cancel_that_was_seen_to_before_does_not_count() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await together(fail())

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(ValueError, match="broken"):
        await working


@pytest.mark.parametrize("broken", [False, True])
async def test_what_is_firm_goes_on_for_all_others_whoever_is_cancelled(broken: bool) -> None:
    firm, told = Firm(loop=asyncio.get_running_loop()), list[str]()

    async def wait(name: str) -> None:
        try:
            await firm
        except BaseException as error:
            told.append(f"{name}: {type(error).__name__}")
            raise
        told.append(name)

    tasks = [asyncio.ensure_future(wait(name)) for name in ("cancelled", "other")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    assert not told
    assert not firm.cancelled()
    if broken:
        firm.set_exception(ValueError())
    else:
        firm.set_result(None)
    await asyncio.wait(tasks)
    assert told == ["cancelled: CancelledError", "other: ValueError" if broken else "other"]
    assert tasks[0].cancelled()
    if broken:
        assert isinstance(tasks[1].exception(), ValueError)
