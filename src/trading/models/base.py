"""What every model has in common: settings, the data it is taught, its card, its view.

Fitting is in ``forest``, prediction in ``inference``, judgement in ``validation``; which model
trades is decided in ``mlops``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.errors import ModelError
from trading.features.cross_section import SCORE_DECIMALS, percentile_rank
from trading.models.dqn import DqnSettings


class ForestSettings(BaseModel):
    """The random forest; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=100, ge=1)
    max_depth: int = Field(default=5, ge=1)
    min_leaf_share: float = Field(default=0.01, gt=0, lt=0.5)
    max_features: float = Field(default=0.4, gt=0, le=1)
    sample_rows: int = Field(default=10_000, ge=100)


class BoostingSettings(BaseModel):
    """Gradient boosting; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=300, ge=1)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    max_depth: int = Field(default=4, ge=1)
    min_leaf_share: float = Field(default=0.01, gt=0, lt=0.5)
    max_features: float = Field(default=0.4, gt=0, le=1)
    l2: float = Field(default=1.0, ge=0)
    patience: int = Field(default=30, ge=1)
    validation_share: float = Field(default=0.2, gt=0, lt=1)


class ReturnsSettings(BaseModel):
    """What the families that look at returns alone share; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(default=60, ge=10)
    min_gain_t: float = Field(default=2.0, ge=0)
    min_outcome_t: float = Field(default=0.0, ge=0)
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    coverage: float = Field(default=0.8, gt=0, lt=1)
    abstain_share: float = Field(default=0.01, ge=0)


class ArimaSettings(ReturnsSettings):
    """ARIMA over the returns of all names; commented in ``config/models.yaml``."""

    window: int = Field(default=20, ge=10)
    orders: tuple[tuple[Annotated[int, Field(ge=0, le=3)], Annotated[int, Field(ge=0, le=3)]], ...] = (
        (1, 0), (0, 1), (1, 1), (2, 0),
    )  # fmt: skip


class GarchSettings(ReturnsSettings):
    """GJR-GARCH in mean over the returns of all names; commented in ``config/models.yaml``."""

    sample_windows: int = Field(default=10_000, ge=20)


class HmmSettings(ReturnsSettings):
    """The hidden Markov model of returns; commented in ``config/models.yaml``."""

    states: int = Field(default=2, ge=2, le=4)
    iterations: int = Field(default=50, ge=1)
    sample_windows: int = Field(default=1000, ge=20)


class SequenceSettings(BaseModel):
    """What the networks over windows of sessions share; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(default=20, ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    target: Literal["excess", "rank"] = "excess"
    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=4, ge=1)
    batch: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_gradient: float = Field(default=1.0, gt=0)
    clip: float = Field(default=5.0, gt=0)
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    coverage: float = Field(default=0.8, gt=0, lt=1)
    abstain_share: float = Field(default=0.01, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class LstmSettings(SequenceSettings):
    """Long short-term memory; commented in ``config/models.yaml``."""

    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)


class TransformerSettings(SequenceSettings):
    """The Transformer encoder; commented in ``config/models.yaml``."""

    learning_rate: float = Field(default=5e-4, gt=0)
    d_model: int = Field(default=64, ge=2, multiple_of=2)
    d_model_cuda: int = Field(default=512, ge=2, multiple_of=2)
    heads: int = Field(default=8, ge=1)
    layers: int = Field(default=4, ge=1)
    feedforward: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        for width in (self.d_model, self.d_model_cuda):
            if width % self.heads:
                raise ValueError(f"d_model({width})은 heads({self.heads})로 나누어떨어져야 합니다")
        return self


class ValidationSettings(BaseModel):
    """The purged walk-forward; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["anchored", "rolling"] = "anchored"
    folds: int = Field(default=4, ge=1)
    first_train_share: float = Field(default=0.4, gt=0, lt=1)
    embargo_sessions: int = Field(default=5, ge=0)
    min_names: int = Field(default=3, ge=2)
    quantiles: int = Field(default=10, ge=2)
    turnover_cost_bps: float = Field(default=30.0, ge=0)
    seeds: int = Field(default=5, ge=5)
    groups: int = Field(default=6, ge=2)
    tested_groups: int = Field(default=2, ge=1)


class CalibrationSettings(BaseModel):
    """How the gate itself is measured; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draws: int = Field(default=5000, ge=20)
    quick_draws: int = Field(default=1000, ge=20)
    years: float = Field(default=5.0, gt=0)
    min_shift_sessions: int = Field(default=250, ge=1)
    mean_block_sessions: int = Field(default=20, ge=1)
    symbols: int = Field(default=300, ge=2)
    names: int = Field(default=30, ge=2)
    windows: tuple[Annotated[int, Field(ge=2)], ...] = (20, 60, 250)
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.3,)
    rebalance_sessions: int = Field(default=20, ge=1)
    cost_bps: float = Field(default=15.0, ge=0)
    target_rate: float = Field(default=0.04, gt=0, lt=0.5)
    promise: float = Field(default=0.05, gt=0, lt=1)
    quick_promise: float = Field(default=0.08, gt=0, lt=1)
    information_ratios: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 0.5, 1.0, 1.5)
    power_draws: int = Field(default=400, ge=20)
    min_power: float = Field(default=0.5, gt=0, lt=1)
    max_years: float = Field(default=80.0, gt=0)
    seed: int = Field(default=13, ge=0)


class GateSettings(BaseModel):
    """What a challenger must show; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_t: float = Field(default=2.0, ge=0)
    max_rank_ic: float = Field(default=0.15, gt=0, le=1)
    min_sessions: int = Field(default=252, ge=20)
    min_dsr: float = Field(default=0.95, gt=0, lt=1)
    max_pbo: float = Field(default=0.2, gt=0, lt=1)
    blocks: int = Field(default=16, ge=2, le=16, multiple_of=2)
    spa_size: float = Field(default=0.05, gt=0, lt=1)
    champion_size: float = Field(default=0.1, gt=0, lt=1)
    spa_repetitions: int = Field(default=1000, ge=100)
    max_crisis_shortfall: float = Field(default=0.1, ge=0, lt=1)
    min_capacity_multiple: float = Field(default=10.0, gt=0)
    min_break_even_bps: float = Field(default=5.0, ge=0)
    seed: int = Field(default=11, ge=0)
    retrain_every_sessions: int = Field(default=5, ge=1)
    calibration: CalibrationSettings = CalibrationSettings()


class RetrainSettings(BaseModel):
    """How long training may take; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    daily_minutes: float = Field(default=20, gt=0)
    full_minutes: float = Field(default=240, gt=0)


Choice = bool | int | float | str | None


class SearchSettings(BaseModel):
    """Where a search looks for better models; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float = Field(default=10, gt=0)
    startup_trials: int = Field(default=6, ge=1)
    prune_after_folds: int = Field(default=2, ge=1)
    seed: int = Field(default=7, ge=0)
    spaces: Mapping[str, Mapping[str, tuple[Choice, ...]]] = {
        "forest": {"max_depth": (3, 4, 5, 7), "max_features": (0.2, 0.4, 0.7)},
        "boosting": {
            "max_depth": (2, 3, 4, 6),
            "learning_rate": (0.02, 0.05, 0.1),
            "l2": (0.1, 1.0, 10.0),
        },
    }
    groups: Mapping[str, tuple[str, ...]] = {
        "returns": ("return_1", "return_5", "return_20", "momentum", "autocorrelation"),
        "trend": ("moving_average_gap", "ema_gap", "macd_histogram", "adx"),
        "oscillators": ("rsi", "bollinger_b", "mfi", "stochastic_k", "stochastic_d"),
        "volume": ("volume_ratio", "obv_flow"),
        "volatility": (
            "atr", "volatility_short", "volatility_long", "volatility_downside",
            "volatility_parkinson", "volatility_garman_klass", "volatility_idiosyncratic",
            "drawdown", "beta",
        ),
        "ranks": ("momentum_rank", "return_5_rank", "return_20_rank", "volatility_rank"),
    }  # fmt: skip


class DriftSettings(BaseModel):
    """When a model is no longer what it was; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_sessions: int = Field(default=60, ge=5)
    forecast_sessions: int = Field(default=20, ge=5)
    min_rows: int = Field(default=20, ge=10)
    min_windows: int = Field(default=20, ge=5)
    alarm_rate: float = Field(default=0.05, gt=0, lt=1)
    max_outside: float = Field(default=0.7, gt=0, le=1)
    max_missing: float = Field(default=0.5, gt=0, le=1)
    error_delta: float = Field(default=0.002, gt=0, lt=1)
    promise_level: float = Field(default=0.95, ge=0.5, lt=1)
    demote_level: float = Field(default=0.05, gt=0, lt=1)
    pause_sessions: int = Field(default=5, ge=1)
    max_age_sessions: int = Field(default=250, ge=1)
    keep_sessions: int = Field(default=250, ge=1)


class PolicySettings(BaseModel):
    """Trading as a game that is learned; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning: DqnSettings = DqnSettings(steps_per_update=32)
    steps: int = Field(default=320_000, ge=1)
    lanes: int = Field(default=64, ge=1)
    episode_sessions: int = Field(default=250, ge=2)
    cash: Mapping[Market, int] = {Market.KRX: 100_000_000, Market.US: 100_000}
    participation: float = Field(default=0.1, gt=0, le=1)
    clip: float = Field(default=5.0, gt=0)
    validation_share: float = Field(default=0.25, gt=0, lt=1)
    judgements: int = Field(default=8, ge=1)
    min_t: float = Field(default=1.645, ge=0)

    @model_validator(mode="after")
    def _every_market(self) -> Self:
        if missing := [market.value for market in Market if market not in self.cash]:
            raise ValueError(f"cash 에 시장이 없습니다: {', '.join(missing)}")
        return self


class ModelSettings(BaseModel):
    """Learning, from labels to promotion; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_sessions: int = Field(default=20, ge=1)
    stride_sessions: int = Field(default=5, ge=1)
    min_rows: int = Field(default=500, ge=50)
    min_coverage: float = Field(default=0.5, gt=0, le=1)
    rank_min_names: int = Field(default=5, ge=2)
    seed: int = Field(default=7, ge=0)
    families: tuple[str, ...] = ("forest",)
    steps_sessions: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10)
    forest: ForestSettings = ForestSettings()
    boosting: BoostingSettings = BoostingSettings()
    arima: ArimaSettings = ArimaSettings()
    garch: GarchSettings = GarchSettings()
    hmm: HmmSettings = HmmSettings()
    kalman: ReturnsSettings = ReturnsSettings()
    lstm: LstmSettings = LstmSettings()
    transformer: TransformerSettings = TransformerSettings()
    dqn: PolicySettings = PolicySettings()
    validation: ValidationSettings = ValidationSettings()
    gate: GateSettings = GateSettings()
    drift: DriftSettings = DriftSettings()
    retrain: RetrainSettings = RetrainSettings()
    search: SearchSettings = SearchSettings()

    @model_validator(mode="after")
    def _steps_end_at_the_horizon(self) -> Self:
        steps = (*self.steps_sessions, self.horizon_sessions)
        if list(steps) != sorted(set(steps)):
            raise ValueError(
                f"steps_sessions{self.steps_sessions}는 커지는 순서이고 "
                f"horizon_sessions({self.horizon_sessions})보다 짧아야 합니다"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Every session of a panel with its features, ``(n_sessions, n_instruments, n_features)``."""

    panel: AdjustedPanel
    x: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """One row per (session, name) that has all features and could have a label, in that order.

    Whoever would be asked is there: a name that was halted or delisted before its label was known
    has NaN for ``excess`` and ``forward``. It is forecast and traded like the others and teaches
    nothing; without it an account would know who is about to go.

    ``x`` has shape ``(n_rows, n_features)``, or ``(n_rows, window, n_features)`` for a learner that
    looks at the last ``window`` sessions, the newest last; ``row`` and ``column`` say where in the
    panel a row comes from; ``excess`` is what is learned, ``forward`` the plain return of the same
    span. A label of row ``t`` was known at the close of ``t + horizon``. ``path``, of shape
    ``(n_rows, len(steps))``, has the excess returns of the shorter horizons ``steps``, NaN where a
    name had no bar then. ``history`` gives the named features of all sessions, for who learns by
    trading from one to the next.
    """

    market: Market
    feature_names: tuple[str, ...]
    feature_fingerprint: str
    horizon: int
    sessions: DateArray
    x: FloatArray
    excess: FloatArray
    forward: FloatArray
    row: IntArray
    column: IntArray
    content_hash: str
    steps: tuple[int, ...] = ()
    path: FloatArray | None = None
    history: Callable[[tuple[str, ...]], History] | None = None

    @property
    def window(self) -> int:
        """Sessions that a row looks at, its own included."""
        return self.x.shape[1] if self.x.ndim == 3 else 1

    @property
    def labelled(self) -> IntArray:
        """The rows with a label: all that can be learned from."""
        return np.flatnonzero(np.isfinite(self.excess))

    @property
    def known_at(self) -> date:
        """The session at whose close the last label was known."""
        known: date = self.sessions[int(self.row[self.labelled].max()) + self.horizon].item()
        return known

    def kept(self, at: IntArray) -> "Dataset":
        """Return only the rows ``at``."""
        return replace(
            self,
            x=self.x[at],
            excess=self.excess[at],
            forward=self.forward[at],
            row=self.row[at],
            column=self.column[at],
            path=None if self.path is None else self.path[at],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What must be known about a fitted model before it may be asked.

    ``trained_through`` is the last session whose prices it has seen: rows before it are in
    sample. ``forecast_scale`` is the standard deviation of its out-of-sample forecasts, and
    from ``rank_min_names`` names on its forecasts are ranked; see ``view``.
    ``*_hits`` of ``*_count`` out-of-sample views had the sign right, both in sessions whose
    outcomes do not overlap: names of a session move together and count as one.
    """

    name: str
    family: str
    market: str
    window: int
    feature_names: tuple[str, ...]
    feature_fingerprint: str
    horizon_sessions: int
    rank_min_names: int
    trained_through: date
    forecast_scale: float
    long_hits: float
    long_count: float
    short_hits: float
    short_count: float
    rank_ic: float
    rank_ic_t: float
    rank_ic_sessions: int
    rows: int
    seed: int
    dataset_hash: str
    configuration_hash: str
    code_version: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        body = asdict(self)
        body["feature_names"] = list(self.feature_names)
        body["trained_through"] = self.trained_through.isoformat()
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "ModelCard":
        """Return the card written by ``to_json``; one without a family is of a forest."""
        fields: dict[str, Any] = {"family": "forest", "window": 1} | dict(body)
        fields["feature_names"] = tuple(fields["feature_names"])
        fields["trained_through"] = date.fromisoformat(fields["trained_through"])
        return cls(**fields)


class Fitted(Protocol):
    """What a learner came to: numbers that answer without the library that found them."""

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """Every number by name: what is saved, and what the fingerprint is made of."""
        ...

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the forecast excess return of each row of ``x``; rows do not know one another."""
        ...


class Learner(Protocol):
    """A family of models with its settings.

    ``window`` is the number of sessions a row of ``Dataset.x`` looks back: 1 for rows of features.
    """

    @property
    def family(self) -> str:
        """Name of the family, of its agent, and the first part of its models' names."""
        ...

    @property
    def window(self) -> int:
        """Sessions that one forecast looks at."""
        ...

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Fitted:
        """Return what the rows ``at`` of ``data`` teach; everything it needs is fitted on them.

        All of them have a label. The same rows and seed give the same numbers, to the bit, whatever
        ran before.
        """
        ...


class Model(Protocol):
    """A fitted model; what ``strategies.learned`` needs of it."""

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        ...

    @property
    def fitted(self) -> Fitted:
        """What was learned."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of its weights; part of the policy hash."""
        ...

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the forecast excess return of each row of ``x``, in the card's feature order."""
        ...


def purged_tail(
    data: Dataset, at: IntArray, *, share: float, min_rows: int = 20
) -> tuple[IntArray, IntArray]:
    """Return the rows ``at`` in two: to learn from, and the last ``share`` of sessions to stop by.

    Split by date. What is learned from was known before the first session that any row of the
    second part looks at.

    Raises
    ------
    ModelError
        If a part has fewer than ``min_rows`` rows.
    """
    dates = np.unique(data.row[at])
    begin = dates[min(len(dates) - 1, round(len(dates) * (1.0 - share)))] if len(dates) else 0
    known = data.row[at] + data.horizon + data.window - 1
    taught, held = at[known < begin], at[data.row[at] >= begin]
    if min(len(taught), len(held)) < min_rows:
        raise ModelError(
            f"학습을 멈출 때를 정할 자료가 부족함: 학습 {len(taught)}행, 검증 {len(held)}행 "
            f"(각각 최소 {min_rows}행)"
        )
    return taught, held


def windows(values: NDArray[Any], window: int) -> NDArray[Any]:
    """Return the last ``window`` rows of each row, the newest last, without copying them.

    ``values`` has shape ``(n_sessions, n_instruments, ...)``, the result ``(n_sessions,
    n_instruments, window, ...)``. Before the first row there is NaN, or ``False``.
    """
    nothing = np.zeros_like(values, shape=(window - 1, *values.shape[1:]))
    if nothing.dtype != np.bool_:
        nothing.fill(np.nan)
    whole = np.concatenate([nothing, values])
    return np.moveaxis(sliding_window_view(whole, window, axis=0), -1, 2)


def view(forecast: FloatArray, eligible: BoolArray, *, scale: float, min_names: int) -> FloatArray:
    """Return forecasts as votes in [-1, 1]; NaN where there is no forecast.

    With ``min_names`` or more names in a session their ranks, from -1 for the lowest to 1 for
    the highest; with fewer the forecast over its usual size ``scale``, clipped.
    """
    masked: FloatArray = np.where(eligible, forecast, np.nan)
    rounded: FloatArray = np.round(masked, SCORE_DECIMALS)
    rank = percentile_rank(rounded, eligible, min_names=min_names)
    sized = np.clip(rounded / scale, -1.0, 1.0)
    vote: FloatArray = np.where(np.isfinite(rank), 2.0 * rank - 1.0, sized)
    return np.round(vote, SCORE_DECIMALS)
