"""A search for better models: families, their settings and groups of features, within a time.

Beside ``backtest.optimize`` the only module that knows Optuna. Every trial is written to the trial
ledger, given up ones too; the best goes the way of every challenger (``retrain``).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trading.backtest.trials import Outcome, Trial, TrialLedger, trials_path
from trading.clock import WallClock, monotonic_seconds
from trading.domain.wording import model_text
from trading.errors import ModelError, UsageError
from trading.log import get_logger
from trading.mlops import dataset
from trading.mlops.gate import Track
from trading.mlops.retrain import champions_choice
from trading.mlops.track import Venue, trade_forecasts
from trading.mlops.train import FAMILIES, Configuration, configuration, learner_of, taught
from trading.models.base import Dataset, ModelSettings
from trading.models.validation import WalkForward, folds, forecasts, outcome

if TYPE_CHECKING:
    import optuna

    from trading.config import Home

log = get_logger(__name__)

_FAMILY, _USE = "family", "use"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a search came to: the best configuration, and what each completed trial earned.

    ``value`` is the t-statistic of the best one's rank IC; ``tracks`` are those of the others.
    """

    family: str
    chosen: Configuration
    value: float
    trials: int
    pruned: int
    seconds: float
    tracks: tuple[Track, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        return {
            "family": self.family,
            **self.chosen.to_json(),
            "rank_ic_t": self.value,
            "trials": self.trials,
            "pruned": self.pruned,
            "seconds": round(self.seconds, 1),
        }


def search(
    venue: Venue,
    home: "Home",
    models: ModelSettings,
    families: Sequence[str] | None = None,
    *,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Return the best of what ``search`` in the settings allows, as far as the time goes.

    The champions' own configurations are tried first. A trial whose walk-forward is behind the
    median after a fold is given up.

    Raises
    ------
    UsageError
        If a family has no space to look in.
    ModelError
        If no trial was completed.
    """
    asked = models.search
    looked = tuple(families or asked.spaces)
    if unknown := [family for family in looked if family not in asked.spaces]:
        raise UsageError(
            f"config/models.yaml의 search.spaces에 찾을 값이 없는 계열입니다: {', '.join(unknown)}"
        )
    begun = monotonic_seconds()
    seconds = 60.0 * (minutes or asked.minutes)
    looking = _Search(venue, home, models, looked, begun + seconds)
    looking.first_trials()
    while monotonic_seconds() < begun + seconds:
        looking.one()
        if progress is not None:
            progress(min(round(monotonic_seconds() - begun), round(seconds)), round(seconds))
    return looking.found(monotonic_seconds() - begun)


class _Search:
    """A study and what it has found so far."""

    def __init__(
        self,
        venue: Venue,
        home: "Home",
        models: ModelSettings,
        families: Sequence[str],
        deadline: float,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        self._venue, self._home, self._models = venue, home, models
        self._families, self._deadline = families, deadline
        self._data: dict[int, Dataset] = {}
        self._tracks: dict[int, Track] = {}
        self._chosen: dict[int, tuple[str, Configuration]] = {}
        settings = models.search
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                direction="maximize",
                sampler=optuna.samplers.TPESampler(
                    seed=settings.seed, n_startup_trials=settings.startup_trials
                ),
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=settings.startup_trials,
                    n_warmup_steps=settings.prune_after_folds - 1,
                ),
            )

    def first_trials(self) -> None:
        """Begin with what the champions are, or would be without a search."""
        for family in self._families:
            kept = champions_choice(self._home, self._venue, self._models, family)
            own = kept.applied(self._models, family)
            space = self._models.search.spaces[family]
            now = getattr(own, family).model_dump()
            params: dict[str, Any] = {_FAMILY: family}
            params |= {f"{family}.{name}": now[name] for name in space if now[name] in space[name]}
            for group, names in self._models.search.groups.items():
                params[f"{_USE}.{group}"] = kept.only is None or bool(set(names) & set(kept.only))
            self._study.enqueue_trial(params)

    def one(self) -> None:
        """Try one configuration, to its end or until it is behind the others.

        What the settings do not allow is not tried, and does not count.
        """
        from optuna.trial import TrialState

        trial = self._study.ask()
        family, params, left_out = self._asked(trial)
        try:
            own = Configuration(params=params).applied(self._models, family)
            data, only = self._taught(family, own), None
            if left_out & set(data.feature_names):
                only = tuple(name for name in data.feature_names if name not in left_out)
                data = dataset.select(data, only)
        except ModelError as error:
            log.info("시험할 수 없는 설정", family=family, reason=str(error))
            self._study.tell(trial, state=TrialState.FAIL)
            return
        track, value = None, None
        try:
            walk = self._walked(trial, family, data, own)
            if walk is not None:
                track, value = trade_forecasts(self._venue, walk, family, own), walk.rank_ic_t
        except ModelError as error:
            log.info("시도를 그만둠", family=family, reason=str(error))
        self._chosen[trial.number] = family, Configuration(params=params, only=only)
        self._record(family, own, only, track)
        if value is None or track is None:
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        self._tracks[trial.number] = track
        self._study.tell(trial, value)

    def found(self, seconds: float) -> Found:
        """Return the best trial."""
        if not self._tracks:
            raise ModelError("정해진 시간 안에 끝까지 시험한 설정이 없음")
        best = self._study.best_trial
        family, chosen = self._chosen[best.number]
        tried = len(self._chosen)
        return Found(
            family=family,
            chosen=chosen,
            value=float(best.value or 0.0),
            trials=tried,
            pruned=tried - len(self._tracks),
            seconds=seconds,
            tracks=tuple(t for number, t in self._tracks.items() if number != best.number),
        )

    def _asked(self, trial: "optuna.Trial") -> tuple[str, dict[str, Any], set[str]]:
        """Return a family, what replaces its settings, and the features that it does not see."""
        settings = self._models.search
        family = trial.suggest_categorical(_FAMILY, self._families)
        params = {
            name: trial.suggest_categorical(f"{family}.{name}", choices)
            for name, choices in settings.spaces[family].items()
        }
        left_out = {
            name
            for group, names in settings.groups.items()
            if not trial.suggest_categorical(f"{_USE}.{group}", [True, False])
            for name in names
        }
        return family, params, left_out

    def _taught(self, family: str, own: ModelSettings) -> Dataset:
        """Return all that a family may be taught; the same for all settings with one window."""
        window = FAMILIES[family](own).window
        if window not in self._data:
            venue = self._venue
            self._data[window] = taught(venue.adjusted, venue.features, own, venue.facts, family)
        return self._data[window]

    def _walked(
        self, trial: "optuna.Trial", family: str, data: Dataset, own: ModelSettings
    ) -> WalkForward | None:
        """Return the walk-forward, or ``None`` when it was given up on the way."""
        learner = learner_of(family, own, self._deadline)
        last, walk = len(folds(data, own.validation)) - 1, None
        for step, forecast in enumerate(forecasts(data, learner, own.validation, seed=own.seed)):
            walk = outcome(data, forecast, own.validation, rank_min_names=own.rank_min_names)
            trial.report(walk.rank_ic_t, step)
            if step < last and trial.should_prune():
                return None
        return walk

    def _record(
        self, family: str, own: ModelSettings, only: tuple[str, ...] | None, track: Track | None
    ) -> None:
        sessions = track.sessions if track is not None else self._venue.adjusted.sessions
        trial = Trial(
            market=self._venue.adjusted.market,
            command="train --search",
            configuration=configuration(self._venue.features, own, family, only),
            first_session=str(sessions[0]),
            last_session=str(sessions[-1]),
            at=WallClock().now(),
            outcome=Outcome.COMPLETE if track is not None else Outcome.PRUNED,
            returns=track.net if track is not None else None,
        )
        with TrialLedger(trials_path(self._home.data_dir)) as ledger:
            ledger.record(trial)


def text(body: Mapping[str, Any]) -> str:
    """Return what a search came to as lines in Korean."""
    params = ", ".join(f"{name}={value}" for name, value in body["params"].items()) or "설정 그대로"
    only = f"특성 {len(body['only']):,}개" if body["only"] is not None else "모든 특성"
    return (
        f"{body['trials']:,}번 시험, {body['pruned']:,}번은 중간에 그만둠 "
        f"({body['seconds']:,.0f}초)\n"
        f"가장 나은 설정: {model_text(body['family'])} {params}, {only} "
        f"(순위 IC의 t {body['rank_ic_t']:+.2f})"
    )
