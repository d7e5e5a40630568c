"""Studies that look for parameters; beside ``mlops.automl`` the only module that knows Optuna.

A study asks for parameters in batches of a fixed size and hears of a batch as a whole. So the
parameters do not depend on who evaluates them or how fast, and a study that was killed goes on as
if it had not been. What a set of parameters is worth is the business of ``Judge``.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trading.backtest.settings import Objective, OptimizeSettings, Range
from trading.backtest.walkforward import MINIMIZED
from trading.errors import DataError, UsageError

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

Params = Mapping[str, Any]
Space = Mapping[str, Range]
Progress = Callable[[int, int], None]

_BATCH, _SIZE, _OUTCOME, _ASKED = "batch", "size", "outcome", "asked"


class State(StrEnum):
    """How a trial ended: evaluated, given up on the way, or never begun."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One trial of a study. ``steps`` are its values after each fold, of the first objective."""

    params: Params
    state: State
    values: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    reason: str = ""


class Judge(Protocol):
    """Who knows what parameters are worth."""

    @property
    def folds(self) -> int:
        """How many stretches a set of parameters is tried on, one after the other."""

    def refusal(self, params: Params) -> str | None:
        """Return why ``params`` cannot be tried at all; ``None`` when they can."""

    def values(self, batch: Sequence[Params], fold: int) -> Sequence[Sequence[float]]:
        """Return the objectives of each set over the stretches up to ``fold``; NaN is unknown."""

    def ended(self, params: Params, state: State) -> None:
        """Hear how a set that was tried ended, in the order of asking."""


class Study:
    """One search, in memory or in a storage; see ``open_study``."""

    def __init__(
        self, study: "optuna.Study", objectives: Sequence[Objective], settings: OptimizeSettings
    ) -> None:
        self._study = study
        self._objectives = tuple(objectives)
        self._settings = settings

    @property
    def found(self) -> list[Found]:
        """Every trial that has ended, in the order of asking."""
        ended = (t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished())
        return [_found(trial) for trial in ended if _OUTCOME in trial.user_attrs]

    def search(
        self, space: Space, judge: Judge, trials: int, progress: Progress | None = None
    ) -> None:
        """Go on until the study has ``trials`` trials."""
        self._repair()
        done = len(self.found)
        while done < trials:
            size = min(self._settings.batch, trials - done)
            self._study.sampler = self._sampler(done)
            batch = [self._ask(space, done, size) for _ in range(size)]
            outcomes = self._judged(batch, judge)
            for trial, outcome in zip(batch, outcomes, strict=True):
                if outcome["state"] != State.REFUSED:
                    judge.ended(trial.params, outcome["state"])
            for trial, outcome in zip(batch, outcomes, strict=True):
                trial.set_user_attr(_OUTCOME, outcome)
            for trial, outcome in zip(batch, outcomes, strict=True):
                self._tell(trial, outcome)
            done += size
            if progress is not None:
                progress(done, trials)

    def best(self) -> list[Found]:
        """Return the best trial, or those that no other beats in every objective; none, if so."""
        complete = [found for found in self.found if found.state is State.COMPLETE]
        signs = [-1.0 if name in MINIMIZED else 1.0 for name in self._objectives]
        points = [[s * v for s, v in zip(signs, f.values, strict=True)] for f in complete]
        if len(signs) == 1:
            return complete[(at := points.index(max(points))) : at + 1] if points else []
        front = []
        for k, point in enumerate(points):
            is_beaten = any(
                all(a >= b for a, b in zip(other, point, strict=True)) and other != point
                for other in points
            )
            if not is_beaten and point not in points[:k]:
                front.append(complete[k])
        return front

    def importance(self) -> list[dict[str, float]] | None:
        """Return each parameter's share of each objective's variance; ``None`` without any.

        References
        ----------
        .. [1] Hutter, F., Hoos, H. and Leyton-Brown, K. (2014). "An Efficient Approach for
           Assessing Hyperparameter Importance." ICML (functional ANOVA).
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        complete = [found for found in self.found if found.state is State.COMPLETE]
        shares = []
        for k in range(len(self._objectives)):
            if len({found.values[k] for found in complete}) < 2:
                return None
            found_shares = get_param_importances(
                self._study,
                evaluator=FanovaImportanceEvaluator(seed=self._settings.seed),
                target=lambda trial, k=k: trial.values[k],  # type: ignore[misc]
            )
            shares.append({name: float(share) for name, share in found_shares.items()})
        return shares

    def _repair(self) -> None:
        """End what a killed process left: tell a batch that was judged, give up one that was not."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        open_ones = [t for t in trials if t.state is TrialState.RUNNING]
        judged: dict[Any, int] = {}
        for trial in trials:
            if _OUTCOME in trial.user_attrs:
                batch = trial.user_attrs[_BATCH]
                judged[batch] = judged.get(batch, 0) + 1
        for trial in open_ones:
            known = trial.user_attrs
            is_whole = _SIZE in known and judged.get(known[_BATCH], 0) == known[_SIZE]
            if is_whole:
                self._tell(trial.number, known[_OUTCOME])
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _sampler(self, done: int) -> "optuna.samplers.BaseSampler":
        from optuna.samplers import TPESampler

        return TPESampler(
            seed=self._settings.seed + done,
            n_startup_trials=self._settings.startup_trials,
            multivariate=True,
            constant_liar=True,
        )

    def _ask(self, space: Space, batch: int, size: int) -> "optuna.Trial":
        trial = self._study.ask()
        trial.set_user_attr(_BATCH, batch)
        trial.set_user_attr(_SIZE, size)
        for name, within in space.items():
            _suggest(trial, name, within)
        return trial

    def _judged(self, batch: Sequence["optuna.Trial"], judge: Judge) -> list[dict[str, Any]]:
        outcomes: list[dict[str, Any] | None] = []
        for trial in batch:
            reason = judge.refusal(trial.params)
            outcomes.append(None if reason is None else _ended(State.REFUSED, reason))
        is_single = len(self._objectives) == 1
        for fold in range(judge.folds) if is_single else (judge.folds - 1,):
            left = [k for k, outcome in enumerate(outcomes) if outcome is None]
            found = judge.values([batch[k].params for k in left], fold)
            for k, values in zip(left, found, strict=True):
                is_last = fold == judge.folds - 1
                if is_single:
                    batch[k].report(values[0], fold)
                if is_last and all(map(math.isfinite, values)):
                    outcomes[k] = {"state": State.COMPLETE, "values": list(values)}
                elif is_last:
                    outcomes[k] = _ended(State.PRUNED, "거래가 없어 값을 정할 수 없음")
                elif batch[k].should_prune():
                    outcomes[k] = _ended(State.PRUNED, f"{fold + 1}번째 조각까지 중앙값보다 못함")
        return [outcome for outcome in outcomes if outcome is not None]

    def _tell(self, trial: "optuna.Trial | int", outcome: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState

        if outcome["state"] == State.COMPLETE:
            self._study.tell(trial, outcome["values"])
        elif len(self._objectives) == 1:
            # Known to be bad: the sampler looks elsewhere.
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)


@contextmanager
def open_study(
    objectives: Sequence[Objective],
    settings: OptimizeSettings,
    *,
    folder: Path | None = None,
    name: str | None = None,
    asked: str = "",
) -> Iterator[Study]:
    """Yield a study in memory, or the one called ``name`` in ``settings.storage`` or ``folder``.

    ``asked`` says what is looked for and on what: a study of another search is not gone on with.

    Raises
    ------
    UsageError
        If another process works on it, it is of another search, or its storage cannot be reached.
    DataError
        If its file is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name is None or folder is None:
            yield Study(_create(None, None, objectives, settings), objectives, settings)
            return
        with _held(folder, name):
            try:
                storage = _storage(folder, name, settings.storage)
                study = _create(storage, name, objectives, settings)
                known = study.user_attrs.get(_ASKED)
                if known is None:
                    study.set_user_attr(_ASKED, asked)
            except (ValueError, KeyError) as error:
                raise DataError(
                    f"연구 {name}의 기록을 읽을 수 없습니다 ({error}). --name으로 다른 이름을 주거나, "
                    f"{folder}에서 그 파일을 다른 곳으로 옮기십시오."
                ) from error
            if known not in (None, asked):
                raise UsageError(
                    f"이름이 같은 다른 연구가 있습니다: {name} (기록, 범위, 기준 또는 설정이 다름). "
                    "--name으로 다른 이름을 주십시오."
                )
            yield Study(study, objectives, settings)


def _create(
    storage: "BaseStorage | None",
    name: str | None,
    objectives: Sequence[Objective],
    settings: OptimizeSettings,
) -> "optuna.Study":
    import optuna

    return optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        directions=["minimize" if o in MINIMIZED else "maximize" for o in objectives],
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=settings.startup_trials,
            n_warmup_steps=settings.prune_after_folds - 1,
        ),
    )


@contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.held", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"다른 명령이 연구 {name}을(를) 하고 있습니다. 끝나기를 기다리거나 --name을 바꾸십시오."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _storage(folder: Path, name: str, url: str | None) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        path = folder / f"{name}.journal"
        _mend(path)
        return JournalStorage(JournalFileBackend(str(path)))
    try:
        return RDBStorage(url)
    except ImportError as error:
        raise UsageError(
            f"데이터베이스 연결에 필요한 모듈이 없습니다: {error.name} — "
            "pip install 'ai-trading[postgres]'"
        ) from error
    except Exception as error:
        # Each driver has its own errors; the address may carry a password and is not told.
        raise UsageError(
            f"config/research.yaml의 optimize.storage에 연결하지 못했습니다 ({type(error).__name__}). "
            "주소와 암호, 서버가 켜져 있는지 확인하십시오."
        ) from error


def _mend(path: Path) -> None:
    """Cut off what a killed process left half written, and the lock of its last write."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("rb+") as file:
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            file.truncate(whole)


def _suggest(trial: "optuna.Trial", name: str, within: Range) -> Any:
    if within.choices is not None:
        return trial.suggest_categorical(name, within.choices)
    low, high, step = within.low, within.high, within.step
    assert low is not None and high is not None
    if within.is_whole:
        return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=within.log)
    return trial.suggest_float(name, low, high, step=step, log=within.log)


def _ended(state: State, reason: str) -> dict[str, Any]:
    return {"state": state, "reason": reason}


def _found(trial: "optuna.trial.FrozenTrial") -> Found:
    outcome = trial.user_attrs[_OUTCOME]
    return Found(
        params=trial.params,
        state=State(outcome["state"]),
        values=tuple(outcome.get("values", ())),
        steps=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        reason=outcome.get("reason", ""),
    )
