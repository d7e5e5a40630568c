"""A policy that holds a name or not, learned by trading it in ``rl_env``; family ``dqn``.

How values are learned is in ``dqn``. Whether the policy may trade is decided in ``mlops``.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import AdjustedPanel
from trading.domain.rules import shipped_rules
from trading.errors import ModelError
from trading.models.base import Dataset, PolicySettings
from trading.models.dqn import Layers, SingleArray, train, values
from trading.models.rl_env import (
    ACCOUNT,
    FLAT,
    HOLD,
    Account,
    Tape,
    Trading,
    follow,
    segments,
    tape,
)

_BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """What was learned: a network over standardized features and the state of an account.

    ``mean``, ``scale`` and ``clip`` standardize; ``unit`` is what a value of 1 is as a logarithm of
    growth; ``edge`` is 1 where the validation window showed a gain after costs, else 0.
    """

    mean: SingleArray
    scale: SingleArray
    clip: float
    unit: float
    edge: float
    account: Account
    layers: Layers

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every number by name."""
        parts = {"mean": self.mean, "scale": self.scale}
        parts["facts"] = np.array([self.clip, self.unit, self.edge, *self.account])
        for k, (weight, bias) in enumerate(self.layers):
            parts |= {f"weight_{k}": weight, f"bias_{k}": bias}
        return parts

    @classmethod
    def of(
        cls,
        mean: SingleArray,
        scale: SingleArray,
        facts: FloatArray,
        **layers: SingleArray,
    ) -> "Policy":
        """Return the policy of ``tensors``."""
        clip, unit, edge, cash, share_bps = facts.tolist()
        return cls(
            mean=mean,
            scale=scale,
            clip=clip,
            unit=unit,
            edge=edge,
            account=Account(int(cash), int(share_bps)),
            layers=tuple(
                (layers[f"weight_{k}"], layers[f"bias_{k}"]) for k in range(len(layers) // 2)
            ),
        )

    def predict(self, x: FloatArray) -> FloatArray:
        """Return by how much holding beats not holding for an account in cash; 0 without ``edge``."""
        rows = np.zeros((len(x), x.shape[1] + ACCOUNT), dtype=np.float32)
        rows[:, :-ACCOUNT] = self.standardized(x)
        value = values(self.layers, rows)
        return (value[:, HOLD] - value[:, FLAT]) * (self.unit * self.edge)

    def standardized(self, x: NDArray[Any]) -> SingleArray:
        """Return features as the network knows them."""
        return standardize(x, self.mean, self.scale, self.clip)

    def advantages(
        self, panel: AdjustedPanel, x: FloatArray, known: BoolArray, *, first: int
    ) -> FloatArray:
        """Return by how much holding beats not holding, for accounts that follow the policy.

        Parameters
        ----------
        panel : AdjustedPanel
            What is traded.
        x : ndarray of shape (n_sessions, n_instruments, n_features)
            Features of the panel's rows from ``first`` on.
        known : ndarray of shape (n_sessions, n_instruments)
            Of which cells all features are known; elsewhere the answer is NaN.
        first : int
            Each name's account begins in cash at this row, and again after unknown cells.

        Returns
        -------
        ndarray of shape (n_sessions, n_instruments)
            Logarithms of growth; above 0 the account holds from the next open on. Row ``t`` knows
            rows up to ``t`` only.
        """
        whole = tape(panel, self.standardized(x), shipped_rules(panel.market), first=first)
        advantage, _ = follow(whole, segments(known, least=1), self.account, self.layers)
        return advantage * self.unit


@dataclass(frozen=True, slots=True)
class Dqn:
    """The learner."""

    settings: PolicySettings
    family: str = "dqn"
    window: int = 1

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Policy:
        """Return what trading taught in the sessions that the labels of the rows ``at`` span.

        Features and rewards are scaled by the part that is learned on; the last
        ``validation_share`` of the sessions chooses the weights and says whether they earned
        anything after costs. An episode of one part pays nothing that the other shows.
        """
        s = self.settings
        if data.history is None:
            raise ModelError("강화학습에는 모든 거래일의 기록이 필요함")
        history = data.history(data.feature_names)
        panel = history.panel
        spanned = np.zeros(len(panel.sessions), dtype=np.bool_)
        for row in np.unique(data.row[at]):
            spanned[row : row + data.horizon + 1] = True
        finite: BoolArray = np.logical_and.reduce(np.isfinite(history.x), axis=2)
        usable = finite & spanned[:, None]
        rows = np.flatnonzero(spanned)
        split = rows[int(len(rows) * (1.0 - s.validation_share))]
        is_early = (np.arange(len(spanned)) < split)[:, None]
        taught = history.x[usable & is_early & panel.tradable]
        if len(taught) < s.learning.batch:
            raise ModelError(f"학습 자료가 부족함: {len(taught)}행 (최소 {s.learning.batch}행)")
        mean, scale = taught.mean(axis=0), np.maximum(taught.std(axis=0), 1e-8)
        whole = tape(
            panel,
            standardize(history.x, mean, scale, s.clip),
            shipped_rules(data.market),
        )
        account = Account(
            s.cash[data.market] * data.market.currency.minor_per_unit,
            round(s.participation * _BASIS_POINTS),
        )
        learned, judged = (segments(usable & part) for part in (is_early, ~is_early))
        if not len(learned) or not len(judged):
            raise ModelError("강화학습에 쓸 이어진 거래일이 없음")
        unit = reward_unit(whole, learned)
        fit = train(
            Trading(whole, learned, account, lanes=s.lanes, length=s.episode_sessions, unit=unit),
            s.learning,
            steps=s.steps,
            seed=seed,
            judge=partial(earned, whole, judged, account),
            judgements=s.judgements,
        )
        return Policy(
            mean=mean,
            scale=scale,
            clip=s.clip,
            unit=unit,
            edge=float(earned(whole, judged, account, fit.layers) > s.min_t),
            account=account,
            layers=fit.layers,
        )


def standardize(x: NDArray[Any], mean: SingleArray, scale: SingleArray, clip: float) -> SingleArray:
    """Return ``x`` in standard deviations from ``mean``, at most ``clip`` of them."""
    scaled: SingleArray = np.clip((x - mean) / scale, -clip, clip).astype(np.float32)
    return scaled


def reward_unit(tape: Tape, runs: IntArray) -> float:
    """Return a size of which nearly all growth of a session is a fraction.

    Five standard deviations from open to open: an error is then squared, not cut off, and what
    is learned is the mean, not the median.
    """
    known = np.concatenate([tape.open[first : last + 1, i] for i, first, last in runs]).astype(
        float
    )
    known[known == 0.0] = np.nan
    growth = np.diff(np.log(known))
    return 5.0 * float(np.nanstd(np.clip(growth, *np.nanquantile(growth, [0.005, 0.995]))))


def earned(tape: Tape, runs: IntArray, account: Account, layers: Layers) -> float:
    """Return the t-statistic of what a policy earned a session, net, in the mean over the names."""
    _, growth = follow(tape, runs, account, layers)
    told = np.isfinite(growth)
    by_session = np.where(told, growth, 0.0).sum(axis=1)[told.any(axis=1)]
    by_session = by_session / told.sum(axis=1)[told.any(axis=1)]
    spread = float(by_session.std())
    return float(by_session.mean()) / spread * math.sqrt(len(by_session)) if spread > 0.0 else 0.0
