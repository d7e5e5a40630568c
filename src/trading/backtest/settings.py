"""What an operator may change of research: ``config/research.yaml``."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.risk.scenarios import CrisisWindow

Choice = str | int | float | bool
Objective = Literal[
    "sharpe", "sortino", "calmar", "total_return", "annual_return", "annual_volatility",
    "max_drawdown",
]  # fmt: skip


class Scheme(StrEnum):
    """How the training ranges lie: from the first session on, or of one length."""

    ANCHORED = "anchored"
    ROLLING = "rolling"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WalkForwardSettings(_Strict):
    """How parameters are chosen on one stretch of history and traded on the next; in sessions."""

    scheme: Scheme = Scheme.ANCHORED
    train_sessions: int = Field(default=504, ge=20)
    test_sessions: int = Field(default=126, ge=5)
    purge_sessions: int = Field(default=5, ge=0)
    objective: Objective = "sharpe"
    blocks: int = Field(default=16, ge=2, le=16, multiple_of=2)
    groups: int = Field(default=6, ge=2, le=12)
    tested_groups: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.tested_groups >= self.groups:
            raise ValueError("tested_groups 는 groups 보다 작아야 합니다")
        return self


class OptimizeSettings(_Strict):
    """How a study looks for parameters."""

    objectives: tuple[Objective, ...] = ("sharpe",)
    trials: int = Field(default=100, ge=1)
    folds: int = Field(default=5, ge=1)
    batch: int = Field(default=4, ge=1)
    startup_trials: int = Field(default=12, ge=1)
    prune_after_folds: int = Field(default=2, ge=1)
    seed: int = Field(default=7, ge=0)
    storage: str | None = None


class Range(_Strict):
    """Where one parameter is looked for: ``low`` to ``high`` by ``step``, or ``choices``.

    Whole numbers are looked for among whole numbers. ``log`` looks as often between 1 and 10 as
    between 10 and 100.
    """

    low: int | float | None = None
    high: int | float | None = None
    step: Annotated[int | float, Field(gt=0)] | None = None
    log: bool = False
    choices: tuple[Choice, ...] | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Range":
        bounds = (self.low, self.high)
        if (self.choices is None) == (bounds == (None, None)):
            raise ValueError("low 와 high, 또는 choices 하나만 적어 주세요")
        if self.choices is not None:
            if not self.choices or self.step is not None or self.log:
                raise ValueError("choices 에는 값을 하나 이상 적고 step 이나 log 를 쓰지 않습니다")
            return self
        if self.low is None or self.high is None or self.low > self.high:
            raise ValueError("low 는 high 보다 크지 않아야 합니다")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log 에는 0보다 큰 low 가 필요하고 step 을 쓰지 않습니다")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether the parameter is a whole number."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step) if v is not None)


class ReportSettings(_Strict):
    """What the pages of runs show, and how their intervals are drawn."""

    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    repetitions: int = Field(default=1000, ge=100)
    seed: int = Field(default=20, ge=0)
    rolling_sessions: int = Field(default=126, ge=20)
    drawdowns: int = Field(default=5, ge=1)
    trades: int = Field(default=5, ge=1)
    charts: int = Field(default=12, ge=0)
    open_charts: int = Field(default=2, ge=0)


class RobustnessSettings(_Strict):
    """What a backtest is put to: other costs, later decisions, more capital, bad times."""

    cost_multiples: tuple[Annotated[float, Field(ge=0, le=100)], ...] = (0, 1, 2, 4, 8)
    break_even_reruns: int = Field(default=4, ge=1)
    delays: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2, 3, 4, 5)
    capital_multiples: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (1, 10, 100, 1000)
    crises: tuple[CrisisWindow, ...] = ()


class ResearchSettings(_Strict):
    """Walk-forward, optimisation and where it looks; commented in ``config/research.yaml``.

    ``spaces`` has the parameters of a strategy under its name, ``exits.stop_loss`` for one of its
    exit rules.
    """

    walk_forward: WalkForwardSettings = WalkForwardSettings()
    optimize: OptimizeSettings = OptimizeSettings()
    report: ReportSettings = ReportSettings()
    robustness: RobustnessSettings = RobustnessSettings()
    spaces: Mapping[str, Mapping[str, Range]] = Field(default_factory=dict)
