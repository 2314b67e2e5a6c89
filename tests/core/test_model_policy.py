"""When a failed run is tried again."""

from __future__ import annotations

from multirun_core._model.policy import Policy


def test_the_time_between_attempts_doubles_up_to_a_minute() -> None:
    policy = Policy(retries=100, retry_delay=1.5)
    assert [policy.delay(n, "exit") for n in (1, 2, 3, 4)] == [1.5, 3.0, 6.0, 12.0]
    assert {policy.delay(n, "exit") for n in (7, 50, 100)} == {60.0}
    assert policy.delay(101, "exit") is None


def test_what_was_ended_on_purpose_is_not_tried_again() -> None:
    policy = Policy(retries=3)
    assert policy.delay(1, "cancelled") is None
    assert policy.delay(1, "timeout") == 1.0
