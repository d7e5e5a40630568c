"""How often the gate itself is wrong, measured on recorded returns: its size and its power.

A worthless world is drawn from the record, the whole of a reduced search is done in it, and the
gate is asked about the best that was found. See docs/gate.md for the two nulls and for what is
not one.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from trading import measures
from trading.backtest import validation
from trading.backtest.trials import effective_number
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import AdjustedPanel
from trading.domain.wording import MARKET_TEXT, percent_text
from trading.errors import MissingDataError
from trading.mlops import gate
from trading.models.base import CalibrationSettings, GateSettings
from trading.store.parts import make_durably, write_durably

SHIFTED, REDRAWN = "shifted", "redrawn"
_NULLS = (SHIFTED, REDRAWN)
_TEXT = {
    SHIFTED: "귀무 1 (신호를 수익률에 대해 돌림)",
    REDRAWN: "귀무 2 (평균을 뺀 날짜 블록을 다시 뽑음)",
}
_BASIS_POINT = 1e-4
_LEVEL = 0.95
# Names with fewer of the sessions than this are no history to draw from.
_LEAST_COVERAGE = 0.95
# Of the draws of one information ratio, every so many are traded at longer lengths, too.
_YEARS_SHARE = 8

Progress = Callable[[int, int], None]


class Search(NamedTuple):
    """What is tried in every draw: a past return, followed or faded, by the best of its ranks.

    Of each window, both directions are tried with each share of the names in equal parts, and
    with every name whose own score is positive, the rest in cash.
    """

    windows: IntArray
    shares: FloatArray
    every: int
    cost: float

    @property
    def size(self) -> int:
        """Number of configurations."""
        return 2 * len(self.windows) * (len(self.shares) + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """What every configuration of the search earned over its benchmark in one drawn world.

    ``active``, ``doubled`` (at twice the costs) and ``delayed`` (one session later) have shape
    ``(n_sessions, n_configurations)``; the one that did best comes first.
    """

    active: FloatArray
    doubled: FloatArray
    delayed: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened in some draws, with its Clopper-Pearson interval."""

    count: int
    draws: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.count / self.draws

    @property
    def interval(self) -> tuple[float, float]:
        """Between what the true share lies with probability 95 %.

        References
        ----------
        .. [1] Clopper, C. and Pearson, E. (1934). Biometrika, 26(4), 404-413.
        """
        from scipy.stats import beta

        k, n, tail = self.count, self.draws, (1.0 - _LEVEL) / 2.0
        low = float(beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
        high = float(beta.ppf(1.0 - tail, k + 1, n - k)) if k < n else 1.0
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        return {
            "promotions": self.count,
            "draws": self.draws,
            "rate": self.rate,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Recorded returns from close to close, ``(n_sessions, n_names)``, and how they are drawn from."""

    returns: FloatArray
    sessions_per_year: int
    settings: CalibrationSettings

    @classmethod
    def of(
        cls, panel: AdjustedPanel, sessions_per_year: int, settings: CalibrationSettings
    ) -> "World":
        """Return the names of ``panel`` that were recorded nearly always; a halt earns nothing.

        Raises
        ------
        MissingDataError
            If fewer than two names, or too few sessions, are left.
        """
        close = panel.close
        known = np.isfinite(close)
        kept = known.mean(axis=0) >= _LEAST_COVERAGE
        needed = 2 * settings.min_shift_sessions + max(settings.windows)
        if kept.sum() < 2 or len(close) <= needed:
            raise MissingDataError(
                f"관문을 재기에는 기록이 모자람: 거의 온전한 종목 {int(kept.sum())}개, "
                f"{len(close):,}거래일 (최소 2개, {needed + 1:,}거래일)"
            )
        close, known = close[:, kept], known[:, kept]
        last = np.maximum.accumulate(np.where(known, np.arange(len(close))[:, None], 0), axis=0)
        filled = np.take_along_axis(close, last, axis=0)
        returns = filled[1:] / filled[:-1] - 1.0
        return cls(
            returns=np.where(np.isfinite(returns), returns, 0.0),
            sessions_per_year=sessions_per_year,
            settings=settings,
        )

    @cached_property
    def search(self) -> Search:
        """The search of every draw."""
        settings = self.settings
        return Search(
            windows=np.array(settings.windows, dtype=np.int64),
            shares=np.array(settings.shares, dtype=np.float64),
            every=settings.rebalance_sessions,
            cost=settings.cost_bps * _BASIS_POINT,
        )

    def shifted(self, rng: np.random.Generator) -> Draw:
        """Return a draw of null 1: all signals of the record moved in time by one shift.

        What a signal says is as persistent and as alike between names as it was, and is said of
        another time; the returns stay what and when they were.
        """
        record, settings = self.returns[:, self._names(rng)], self.settings
        n = len(record)
        length = min(self._sessions(settings.years), n)
        begin = int(rng.integers(0, n - length + 1))
        shift = int(rng.integers(settings.min_shift_sessions, n - settings.min_shift_sessions + 1))
        at = np.arange(0, length, settings.rebalance_sessions)
        weights = _weights(record, (begin + at - shift) % n, self.search)
        return self._traded(np.ascontiguousarray(record[begin : begin + length]), weights)

    def redrawn(
        self, rng: np.random.Generator, information_ratio: float = 0.0, years: float | None = None
    ) -> Draw:
        """Return a draw of null 2: dates drawn anew in blocks, each name's mean taken off.

        With an ``information_ratio`` one configuration of the search earns it a year over its
        benchmark, net of its costs: its active weights, times a constant, are added to the
        returns that follow them. Those that hold much the same names earn their part of it.
        """
        record = self.returns[:, self._names(rng)]
        record = record - record.mean(axis=0)
        warmup = int(self.search.windows.max())
        length = self._sessions(self.settings.years if years is None else years)
        rows = stationary_rows(len(record), warmup + length, self.settings.mean_block_sessions, rng)
        drawn = record[rows]
        at = np.arange(warmup, warmup + length, self.settings.rebalance_sessions)
        weights = _weights(drawn, at, self.search)
        returns = np.ascontiguousarray(drawn[warmup:])
        if information_ratio:
            chosen = int(rng.integers(self.search.size))
            returns = self._planted(returns, weights[:, chosen], information_ratio)
        return self._traded(returns, weights)

    def _planted(
        self, returns: FloatArray, weights: FloatArray, information_ratio: float
    ) -> FloatArray:
        one = weights[:, None]
        gross, cost = _earned(returns, one, self.search, 0)
        tilt = np.empty_like(returns)
        for block in range(len(weights)):
            begin = block * self.search.every
            tilt[begin : begin + self.search.every] = weights[block] - weights[block].mean()
        # A weight of this row's close earns the next row's return.
        tilt = np.concatenate([np.zeros((1, returns.shape[1])), tilt[:-1]])
        gained = float((tilt * tilt).sum(axis=1).mean())
        if gained <= 0.0:
            return returns
        paid, spread = float(cost.mean()), float((gross - cost).std(ddof=1))
        wanted = information_ratio * spread / math.sqrt(self.sessions_per_year) + paid
        planted: FloatArray = returns + tilt * (wanted / gained)
        return planted

    def _traded(self, returns: FloatArray, weights: FloatArray) -> Draw:
        gross, cost = _earned(returns, weights, self.search, 0)
        late, _ = _earned(returns, weights, self.search, 1)
        active = gross - cost
        ratios = np.array([measures.period_sharpe(column) for column in active.T])
        best = int(np.argmax(np.where(np.isfinite(ratios), ratios, -np.inf)))
        order = np.array([best, *(k for k in range(len(ratios)) if k != best)])
        return Draw(
            active=active[:, order],
            doubled=(active - cost)[:, order],
            delayed=(late - cost)[:, order],
        )

    def _names(self, rng: np.random.Generator) -> IntArray:
        n, most = self.returns.shape[1], self.settings.names
        if n <= most:
            return np.arange(n)
        return np.sort(rng.choice(n, most, replace=False))

    def _sessions(self, years: float) -> int:
        return round(years * self.sessions_per_year)


def stationary_rows(n: int, length: int, mean_block: int, rng: np.random.Generator) -> IntArray:
    """Return ``length`` of ``n`` rows in blocks of random length, around the end to the beginning.

    References
    ----------
    .. [1] Politis, D. and Romano, J. (1994). "The Stationary Bootstrap." Journal of the American
       Statistical Association, 89(428), 1303-1313.
    """
    begins = rng.random(length) < 1.0 / mean_block
    begins[0] = True
    starts = rng.integers(0, n, size=length)
    at = np.maximum.accumulate(np.where(begins, np.arange(length), 0))
    rows: IntArray = (starts[at] + np.arange(length) - at) % n
    return rows


@njit(cache=True)
def _weights(returns: FloatArray, rows: IntArray, search: Search) -> FloatArray:
    """Return what each configuration holds from the closes of ``rows`` on, ``(n_rows, k, m)``.

    Nothing where the window reaches before the first row of ``returns``.
    """
    n, m = returns.shape
    total = np.zeros((n + 1, m))
    for t in range(n):
        for i in range(m):
            total[t + 1, i] = total[t, i] + returns[t, i]
    forms = len(search.shares) + 1
    weights = np.zeros((len(rows), 2 * len(search.windows) * forms, m))
    for r in range(len(rows)):
        row = rows[r]
        for j in range(len(search.windows)):
            window = search.windows[j]
            if row + 1 < window:
                continue
            score = total[row + 1] - total[row + 1 - window]
            order = np.argsort(score, kind="mergesort")
            for d in range(2):
                k = (2 * j + d) * forms
                for f in range(forms - 1):
                    held = max(1, math.floor(search.shares[f] * m + 0.5))
                    for h in range(held):
                        i = order[m - 1 - h] if d == 0 else order[h]
                        weights[r, k + f, i] = 1.0 / held
                for i in range(m):
                    if (score[i] > 0.0) == (d == 0):
                        weights[r, k + forms - 1, i] = 1.0 / m
    return weights


@njit(cache=True)
def _earned(
    returns: FloatArray, weights: FloatArray, search: Search, late: int
) -> tuple[FloatArray, FloatArray]:
    """Return what configurations earned over their benchmarks before costs, and the costs.

    ``weights[r]`` is held from the close of row ``r * search.every + late`` on and earns from the next
    row's return on; the benchmark holds as much of all names in equal parts. Costs are those of
    going from one to the next.
    """
    n, m = returns.shape
    blocks, k = weights.shape[0], weights.shape[1]
    gross = np.zeros((n, k))
    cost = np.zeros((n, k))
    for r in range(blocks):
        begin = r * search.every + late + 1
        end = min(begin + search.every, n)
        for c in range(k):
            moved, held = 0.0, 0.0
            for i in range(m):
                before = weights[r - 1, c, i] if r > 0 else 0.0
                moved += abs(weights[r, c, i] - before)
                held += weights[r, c, i]
            if begin < n:
                cost[begin, c] = moved * search.cost
            for t in range(begin, end):
                earned = 0.0
                for i in range(m):
                    earned += (weights[r, c, i] - held / m) * returns[t, i]
                gross[t, c] = earned
    return gross, cost


@dataclass(kw_only=True, eq=False)
class _Gate:
    """The gate as it is asked about draws; each answer is found once."""

    world: World
    settings: GateSettings

    def probability(self, draw: Draw) -> float:
        """Return the smaller deflated Sharpe ratio of the best configuration."""
        active = draw.active
        effective, count = effective_number((("", ""), column) for column in active.T)
        found = gate.deflated(active, raw=count, effective=effective).probability
        return found if math.isfinite(found) else 0.0

    def holds(self, draw: Draw) -> bool:
        """Return whether everything else that can be asked of a draw is passed, too."""
        settings = self.settings
        if not (draw.doubled[:, 0].mean() > 0 and draw.delayed[:, 0].mean() > 0):
            return False
        pbo = validation.overfitting(draw.active, blocks=settings.blocks).pbo
        if not pbo <= settings.max_pbo:
            return False
        _, better = gate.is_superior(
            draw.active,
            size=settings.spa_size,
            repetitions=settings.spa_repetitions,
            seed=settings.seed,
        )
        return better

    def promotes(self, draw: Draw, threshold: float) -> bool:
        """Return whether the best of a draw passes at ``threshold``."""
        return self.probability(draw) >= threshold and self.holds(draw)


class _Null:
    """The draws of one null, half of them to find a threshold by, half to report."""

    def __init__(self, asked: _Gate, name: str, draws: int, tell: Callable[[], None]) -> None:
        self.name = name
        self._gate = asked
        self._held: dict[int, bool] = {}
        self.probability = np.empty(draws)
        for number in range(draws):
            self.probability[number] = asked.probability(self._draw(number))
            tell()

    def _draw(self, number: int) -> Draw:
        world = self._gate.world
        rng = np.random.default_rng([world.settings.seed, _NULLS.index(self.name), number])
        return world.shifted(rng) if self.name == SHIFTED else world.redrawn(rng)

    def _holds(self, number: int) -> bool:
        if number not in self._held:
            self._held[number] = self._gate.holds(self._draw(number))
        return self._held[number]

    def threshold(self) -> float:
        """Return the least DSR that lets at most ``target_rate`` of the even draws through."""
        even = np.arange(0, len(self.probability), 2)
        allowed = math.floor(self._gate.world.settings.target_rate * len(even))
        for number in even[np.argsort(-self.probability[even], kind="stable")]:
            if self.probability[number] <= 0.5:
                break
            allowed -= self._holds(int(number))
            if allowed < 0:
                return math.nextafter(float(self.probability[number]), 1.0)
        return 0.5

    def rate(self, threshold: float, *, of_all: bool = False) -> Rate:
        """Return how many of the odd draws, or of all, are promoted at ``threshold``."""
        asked = np.arange(0 if of_all else 1, len(self.probability), 1 if of_all else 2)
        over = asked[self.probability[asked] >= threshold]
        return Rate(count=sum(self._holds(int(number)) for number in over), draws=len(asked))


def measure(
    world: World,
    settings: GateSettings,
    *,
    market: str,
    is_quick: bool = False,
    draws: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return how often the gate is wrong on the returns of ``world``; JSON values only.

    ``false_promotion_rate`` and its ``interval`` are those of the worse null, counted in one half
    of the draws, at the ``threshold`` that the other half gives: never below the configured one.
    ``shipped`` are those of the configured threshold, which no draw has chosen, in all draws.
    ``power`` is that at ``threshold``. The same record and settings give the same numbers, to the
    bit.
    """
    asked, own = _Gate(world=world, settings=settings), world.settings
    if draws is None:
        draws = own.quick_draws if is_quick else own.draws
    planted = own.power_draws // (4 if is_quick else 1)
    lengths = _lengths(own)
    total = len(_NULLS) * draws + len(own.information_ratios) * planted
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    nulls = [_Null(asked, name, draws, tell) for name in _NULLS]
    thresholds = {null.name: null.threshold() for null in nulls}
    threshold = max(settings.min_dsr, *thresholds.values())
    found = {null.name: null.rate(threshold) for null in nulls}
    shipped = {null.name: null.rate(settings.min_dsr, of_all=True) for null in nulls}
    worst, worst_shipped = (
        max(rates.values(), key=lambda rate: rate.interval[1]) for rates in (found, shipped)
    )
    power = []
    for information_ratio in own.information_ratios:
        rate = _power(asked, threshold, information_ratio, own.years, planted, tell)
        power.append(
            {
                "information_ratio": information_ratio,
                **rate.to_json(),
                "years_needed": _years_needed(
                    asked, threshold, information_ratio, lengths, max(20, planted // _YEARS_SHARE)
                ),
            }
        )
    promise = own.quick_promise if is_quick else own.promise
    return {
        "market": market,
        "is_quick": is_quick,
        "runs": len(_NULLS) * draws,
        "draws_of_each_null": draws,
        "names": int(world.returns.shape[1]),
        "sessions": int(world.returns.shape[0]),
        "configurations": world.search.size,
        "years": own.years,
        "threshold": threshold,
        "false_promotion_rate": worst.rate,
        "interval": list(worst.interval),
        "nulls": [
            {"name": name, "threshold": thresholds[name], **found[name].to_json()}
            for name in _NULLS
        ],
        "shipped": {
            "threshold": settings.min_dsr,
            "false_promotion_rate": worst_shipped.rate,
            "interval": list(worst_shipped.interval),
            "nulls": [{"name": name, **shipped[name].to_json()} for name in _NULLS],
        },
        "promise": promise,
        "min_power": own.min_power,
        "power": power,
        "max_years": own.max_years,
        "settings": settings.model_dump(mode="json"),
        "is_within": (
            worst.interval[1] <= promise
            and worst_shipped.interval[1] <= promise
            and power[-1]["rate"] >= own.min_power
        ),
    }


def _power(
    asked: _Gate,
    threshold: float,
    information_ratio: float,
    years: float,
    draws: int,
    tell: Callable[[], None] | None = None,
) -> Rate:
    count = 0
    seed = [asked.world.settings.seed, len(_NULLS), round(1000 * information_ratio)]
    for number in range(draws):
        rng = np.random.default_rng([*seed, round(1000 * years), number])
        count += asked.promotes(asked.world.redrawn(rng, information_ratio, years), threshold)
        if tell is not None:
            tell()
    return Rate(count=count, draws=draws)


def _lengths(settings: CalibrationSettings) -> list[float]:
    """Return half a draw's length and its doublings, in years, as far as one looks."""
    lengths = [settings.years / 2.0]
    while lengths[-1] * 2.0 <= settings.max_years:
        lengths.append(lengths[-1] * 2.0)
    return lengths


def _years_needed(
    asked: _Gate,
    threshold: float,
    information_ratio: float,
    lengths: Sequence[float],
    draws: int,
) -> float | None:
    """Return the first of ``lengths`` at which half of the draws are found; ``None`` beyond."""
    for years in lengths:
        if _power(asked, threshold, information_ratio, years, draws).rate >= 0.5:
            return years
    return None


def keep(folder: Path, result: dict[str, Any]) -> Path:
    """Write a calibration where ``last`` finds it, and return the file."""
    make_durably(folder)
    kind = "-quick" if result["is_quick"] else ""
    path = folder / f"calibration-{result['market']}{kind}.json"
    write_durably(path, json.dumps(result, ensure_ascii=False, indent=1).encode())
    return path


def text(result: dict[str, Any]) -> str:
    """Return a calibration as a user reads it."""
    from trading.domain.instrument import Market

    def rates(one: dict[str, Any]) -> list[str]:
        return [
            f"  {_TEXT[null['name']]}: {null['draws']:,}번에 {null['promotions']:,}번, "
            f"{_share(null['rate'])} (95% 구간 {_share(null['interval'][0])} ~ "
            f"{_share(null['interval'][1])})"
            for null in one["nulls"]
        ]

    shipped = result["shipped"]
    lines = [
        f"{MARKET_TEXT[Market(result['market'])]} 관문 재기: {result['names']:,}종목 "
        f"{result['sessions']:,}거래일에서 귀무마다 {result['draws_of_each_null']:,}번 뽑음 "
        f"(설정 {result['configurations']}개 가운데 가장 나은 것, {result['years']:g}년)",
        f"잘못 승격하는 비율, 기준 DSR {result['threshold']:.4f} (뽑은 절반이 정한 값과 설정 가운데 높은 쪽; "
        "나머지 절반에서 잼)",
        *rates(result),
        f"잘못 승격하는 비율, 설정의 기준 DSR {shipped['threshold']:.4f} (모두에서 잼)",
        *rates(shipped),
        f"약속: 95% 구간의 위쪽이 {_share(result['promise'])} 이하",
        f"심어 놓은 정보비율을 {result['years']:g}년 안에 찾아내는 비율 (같은 기준)",
        *(
            f"  연 {one['information_ratio']:g}: {_share(one['rate'])} "
            f"({_share(one['interval'][0])} ~ {_share(one['interval'][1])}), 절반을 찾아내려면 "
            + (
                f"{one['years_needed']:g}년"
                if one["years_needed"] is not None
                else f"{result['max_years']:g}년보다 오래"
            )
            for one in result["power"]
        ),
        "관문이 약속을 지킵니다."
        if result["is_within"]
        else "관문이 약속을 지키지 못합니다. config/models.yaml의 gate.min_dsr을 높이거나 자료를 늘리십시오.",
    ]
    return "\n".join(lines)


def _share(value: float) -> str:
    return percent_text(value, signed=False, digits=1)
