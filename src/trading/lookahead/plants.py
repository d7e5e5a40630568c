"""Leaks that are put into real parts to prove that the comparison sees them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np

from trading.domain.arrays import FloatArray
from trading.domain.instrument import Instrument, Market
from trading.domain.market import RawPanel
from trading.domain.rules import MarketRules
from trading.execution.decide import Policy, Views
from trading.features import pipeline, regimes
from trading.features.indicators import Bars
from trading.features.pipeline import Feature, FeatureSettings
from trading.store import facts as store_facts
from trading.store import fundamentals, universe
from trading.strategies.base import Evaluation


class Plant(StrEnum):
    """A leak that is put into a real part, and must be found."""

    CENTRED = "centred"
    FULLSAMPLE_SCALER = "fullsample-scaler"
    SMOOTHED_HMM = "smoothed-hmm"
    SAME_BAR_FILL = "same-bar-fill"
    RESTATED_FUNDAMENTALS = "restated-fundamentals"
    SURVIVORS = "survivors"


def planted(plant: Plant | None) -> contextlib.AbstractContextManager[None]:
    """Return a context in which the leak is in the real part; nothing for ``None``."""
    return _PLANTS[plant]() if plant is not None else contextlib.nullcontext()


@contextlib.contextmanager
def _replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _with_feature(
    name: str, change: Callable[[Feature], Callable[[Bars, FeatureSettings], FloatArray]]
) -> contextlib.AbstractContextManager[None]:
    registry = tuple(
        replace(feature, compute=change(feature)) if feature.name == name else feature
        for feature in pipeline.REGISTRY
    )
    return _replaced((pipeline, "REGISTRY", registry))


def _centred() -> contextlib.AbstractContextManager[None]:
    """The close over a mean whose window goes as far ahead as back."""

    def compute(bars: Bars, settings: FeatureSettings) -> FloatArray:
        close = bars.close()
        row = np.arange(len(close))
        offsets = range(-(settings.fast_window // 2), settings.fast_window // 2 + 1)
        near = [close[np.clip(row + offset, 0, len(close) - 1)] for offset in offsets]
        gap: FloatArray = close * len(near) / np.cumsum(near, axis=0)[-1] - 1.0
        return gap

    return _with_feature("moving_average_gap", lambda feature: compute)


def _fullsample_scaler() -> contextlib.AbstractContextManager[None]:
    """A feature standardized by its mean and deviation over the whole sample."""

    def change(feature: Feature) -> Callable[[Bars, FeatureSettings], FloatArray]:
        def compute(bars: Bars, settings: FeatureSettings) -> FloatArray:
            values = feature.compute(bars, settings)
            known = values[np.isfinite(values)]
            scaled: FloatArray = (values - known.mean()) / known.std() if known.size else values
            return scaled

        return compute

    return _with_feature("rsi", change)


def _smoothed_hmm() -> contextlib.AbstractContextManager[None]:
    """The regime by its smoothed probability, which knows the rest of the month."""
    filtered = regimes.forward_filter

    def smoothed(start: FloatArray, transition: FloatArray, likelihood: FloatArray) -> FloatArray:
        # Smoothing itself begins with the filter.
        with _replaced((regimes, "forward_filter", filtered)):
            known: FloatArray = regimes.smooth(start, transition, likelihood)
            return known

    return _replaced((regimes, "forward_filter", smoothed))


def _same_bar_fill() -> contextlib.AbstractContextManager[None]:
    """Session ``t`` is traded at its open by what was seen at its close."""
    real = Views.__init__

    def early(
        self: Views, said: Evaluation, raw: RawPanel, rules: MarketRules, policy: Policy
    ) -> None:
        n = len(said.votes)
        shifted: dict[str, Any] = {
            field.name: np.concatenate([value[1:], value[-1:]])
            for field in fields(said)
            if isinstance(value := getattr(said, field.name), np.ndarray)
            and field.name != "ceilings"
            and len(value) == n
        }
        real(self, replace(said, **shifted), raw, rules, policy)

    return _replaced((Views, "__init__", early))


def _restated_fundamentals() -> contextlib.AbstractContextManager[None]:
    """The last figure of a period counts from the day of its first publication."""
    real = fundamentals.known

    def known(
        rows: Any, metrics: Sequence[str], sessions: Sequence[date], symbols: Sequence[str]
    ) -> fundamentals.Known:
        frame = rows if hasattr(rows, "assign") else rows.to_pandas()
        frame = frame.sort_values("published", kind="stable")
        group = frame.groupby(["symbol", "metric", "period"], observed=True, sort=False)
        frame = frame.assign(value=group["value"].transform("last"))
        return real(frame, metrics, sessions, symbols)

    return _replaced((fundamentals, "known", known), (store_facts, "known", known))


def _survivors() -> contextlib.AbstractContextManager[None]:
    """The universe of every day is what trades at the end of the record."""

    def members(lake: Any, market: Market, on: date) -> list[Instrument]:
        bars = lake.table(market, "daily", columns=["session", "symbol"]).to_pandas()
        last = bars.groupby("symbol", observed=True)["session"].max()
        alive = set(last[last == last.max()].index.astype(str))
        return [item for item in lake.instruments(market) if item.symbol in alive]

    return _replaced((universe, "members", members))


_PLANTS: Mapping[Plant, Callable[[], contextlib.AbstractContextManager[None]]] = {
    Plant.CENTRED: _centred,
    Plant.FULLSAMPLE_SCALER: _fullsample_scaler,
    Plant.SMOOTHED_HMM: _smoothed_hmm,
    Plant.SAME_BAR_FILL: _same_bar_fill,
    Plant.RESTATED_FUNDAMENTALS: _restated_fundamentals,
    Plant.SURVIVORS: _survivors,
}
