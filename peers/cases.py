"""The markets and rules that are compared, and what this program wishes in them.

Recorded: four US stocks from 2005-03-01, after the last split among them, to 2013-03-01, prices
as traded; dividends are credited to nobody. The wishes come from the package's own strategies.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
from engines.case import Case, Rule

from trading.backtest import direct
from trading.bootstrap import policy_of
from trading.config import load_settings
from trading.domain.actions import ActionKind
from trading.domain.arrays import SideArray
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.domain.rules import FeeRule, as_array
from trading.errors import MissingDataError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.sessions import SessionCalendar
from trading.simulation.matching import BASIS_POINTS
from trading.store.datasets.embedded import EmbeddedSource
from trading.store.panels import assemble_panels
from trading.strategies import technical
from trading.strategies.base import Inputs

ROOT = Path(__file__).resolve().parent.parent
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
FIRST, LAST = date(2005, 3, 1), date(2013, 3, 1)
CASH = 1_000_000
QUANTITY = 100
COMMISSION_PPB = 150_000
TAX_PPB = 2_000_000
RULES: Mapping[str, Rule] = {
    "이동평균 교차 (10/30)": Rule(kind="crossing", fast=10, slow=30),
    "RSI (14, 30/70)": Rule(kind="recross", window=14, lower=30.0, upper=70.0),
    "SMA 위에서만 보유 (10/20)": Rule(kind="above", fast=10, slow=20),
}


def recorded(rule: Rule) -> Case:
    """Return the recorded market under a rule.

    Raises
    ------
    MissingDataError
        If a stock was split or did not trade inside the span: others know no corporate actions.
    """
    source = EmbeddedSource()
    raw, _ = assemble_panels(
        source.daily(Market.US, SYMBOLS, FIRST, LAST),
        source.actions(Market.US, FIRST, LAST),
        [day for day in source.sessions(Market.US) if FIRST <= day <= LAST],
        Market.US,
        None,
    )
    changes = [
        action
        for action in source.actions(Market.US, FIRST, LAST)
        if action.symbol in SYMBOLS and action.kind is not ActionKind.CASH_DIVIDEND
    ]
    if changes or not raw.tradable.all():
        raise MissingDataError(f"비교할 기간에 분할이나 거래 정지가 있습니다: {FIRST}~{LAST}")
    return Case(
        symbols=raw.symbols, times=raw.sessions.astype("datetime64[s]"), open=raw.open,
        high=raw.high, low=raw.low, close=raw.close, volume=raw.volume,
        minor_per_unit=Market.US.currency.minor_per_unit, rule=rule, quantity=QUANTITY,
        cash=CASH, commission_ppb=COMMISSION_PPB, tax_ppb=TAX_PPB,
    )  # fmt: skip


def wishes(case: Case) -> SideArray:
    """Return what the package's own strategy wishes at every close: 1 hold, -1 hold none."""
    rule = case.rule
    if rule.kind == "above":
        return direct.above(case.close, rule.fast, rule.slow)
    inputs = Inputs(bars=Bars(_panel(case)), features=FeatureSettings())
    if rule.kind == "crossing":
        votes = technical.ma_crossover(
            inputs, technical.MaCrossoverSettings(fast=rule.fast, slow=rule.slow)
        )
    else:
        votes = technical.rsi(
            inputs,
            technical.RsiSettings(window=rule.window, lower=rule.lower, upper=rule.upper),
        )
    return np.where(np.isnan(votes), 0, np.where(votes > 0, 1, -1)).astype(np.int8)


def trade(case: Case, wish: SideArray) -> direct.DirectResult:
    """Return what the compiled path makes of ``wish``, fees rounded to the nearest minor unit."""
    return direct.run(_bars(case), wish, _size(case), cash=case.cash * case.minor_per_unit)


def replay(case: Case, wish: SideArray) -> direct.DirectResult:
    """Return what the event engine makes of ``wish`` under the same fees."""
    calendar = SessionCalendar(Market.US)
    return direct.replay(
        _bars(case), wish, _size(case), cash=case.cash * case.minor_per_unit,
        policy=policy_of(load_settings(ROOT), Market.US, calendar), symbols=case.symbols,
    )  # fmt: skip


def _size(case: Case) -> direct.Size:
    return direct.Size(shares=case.quantity, participation_bps=BASIS_POINTS)


def _bars(case: Case) -> direct.Bars:
    rates = (("commission", "both", case.commission_ppb), ("tax", "sell", case.tax_ppb))
    fees = as_array(
        [
            FeeRule(
                name=kind, kind=kind, side=side, rate_ppb=rate, per_share_ppm=0, unit=1,
                rounding="half_up", maximum=0,
            )
            for kind, side, rate in rates
        ]
    )  # fmt: skip
    return direct.lawless(case.open, case.close, case.volume, fees)


def _panel(case: Case) -> AdjustedPanel:
    return AdjustedPanel(
        market=Market.US, symbols=case.symbols, sessions=case.times.astype("datetime64[D]"),
        open=case.prices["open"], high=case.prices["high"], low=case.prices["low"],
        close=case.prices["close"], volume=case.volume.astype(np.float64),
        tradable=np.ones(case.close.shape, dtype=np.bool_),
        benchmark=np.full(len(case.times), np.nan), benchmark_name="",
    )  # fmt: skip
