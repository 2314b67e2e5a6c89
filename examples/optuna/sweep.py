"""Optuna searches for the lowest point of a valley; each of its trials is a run."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from multirun_core import Run, multirun

HERE = Path(__file__).resolve().parent
TRIALS, AT_ONCE = 40, 2
SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(-2, 2), "y": FloatDistribution(-1, 3)}


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    trials: dict[Run, optuna.Trial] = {}
    with multirun(
        runs=[],
        cmd=[sys.executable, "valley.py"],
        input_files=[HERE / "valley.py"],
        output_path=sys.argv[1] if len(sys.argv) > 1 else None,
        runner_options={"max_parallel": AT_ONCE},
        resume=True,
        wait=False,
    ) as sweep:

        def ask() -> None:
            trial = study.ask(SPACE)
            trials[sweep.add(trial.params)] = trial

        for _ in range(AT_ONCE):
            ask()
        for run in sweep.as_completed():
            failed = run.status != "success"
            study.tell(
                trials[run],
                None if failed else run.result["height"],
                state=optuna.trial.TrialState.FAIL if failed else None,
            )
            if len(trials) < TRIALS:
                ask()
    best = study.best_trial
    print(f"lowest of {len(study.trials)}: {best.value:.4f}", end="")
    print(f" at x = {best.params['x']:.3f}, y = {best.params['y']:.3f}")
    print(f"All of it is in {sweep.path}")


if __name__ == "__main__":
    main()
