"""The panels once more, written plainly: row by row over whole numpy rows, from a pandas frame."""

from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import pandas as pd

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange
from trading.domain.rules import MarketRules

Arrays = dict[str, np.ndarray]

PRICES = ("open", "high", "low", "close")


def plain_panels(
    frame: pd.DataFrame,
    actions: Iterable[CorporateAction],
    sessions: Sequence[date],
    symbols: Sequence[str],
    *,
    rules: MarketRules | None = None,
    require_raw: bool = False,
) -> tuple[Arrays, Arrays]:
    """Return the arrays of both panels, by the names of their fields."""
    days = np.array(sessions, dtype="datetime64[D]")
    shape = (len(days), len(symbols))
    column = pd.Index(list(symbols)).get_indexer(pd.Index(frame["symbol"]))
    row = pd.Index(days).get_indexer(frame["session"].to_numpy().astype("datetime64[D]"))
    kept = frame.loc[(row >= 0) & (column >= 0)]
    at = row[(row >= 0) & (column >= 0)], column[(row >= 0) & (column >= 0)]

    def grid(values: np.ndarray, dtype: type = np.int64) -> np.ndarray:
        cells = np.zeros(shape, dtype=dtype)
        cells[at] = values
        return cells

    bars = {name: grid(kept[name].to_numpy()) for name in PRICES}
    volume = grid(kept["volume"].to_numpy())
    present = grid(np.ones(len(kept)), np.bool_)
    vendor = grid((kept["basis"] == "adjusted").to_numpy(), np.bool_)

    terms = {kind: np.ones((2, *shape), dtype=np.int64) for kind in ("split", "rights")}
    paid, gone = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    for action in actions:
        t = int(np.searchsorted(days, np.datetime64(action.ex_date, "D")))
        if t == len(days) or action.symbol not in symbols:
            continue
        j = list(symbols).index(action.symbol)
        if action.kind is ActionKind.CASH_DIVIDEND:
            paid[t, j] += action.amount
        elif action.kind is ActionKind.DELISTING:
            gone[t:, j] = True
        else:
            terms[action.kind.value][:, t, j] *= action.numerator, action.denominator

    close, reference = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    factors, share_factors = np.ones(shape), np.ones(shape)
    previous = np.zeros(len(symbols), dtype=np.int64)
    factor, shares = np.ones(len(symbols)), np.ones(len(symbols))
    for t in range(len(days)):
        held = previous > 0
        cum = np.maximum(previous - paid[t], 1)
        factor = np.where(held, factor * (previous / cum), factor)
        price = cum
        for kind in ("rights", "split"):
            up, down = terms[kind][:, t]
            price = np.maximum(price * down // up, 1)
            factor = np.where(held, factor * (up / down), factor)
        shares = np.where(held, shares * (terms["split"][0, t] / terms["split"][1, t]), shares)
        reference[t] = np.where(held & ~gone[t], price, 0)
        close[t] = np.where(gone[t], 0, np.where(present[t], bars["close"][t], reference[t]))
        factors[t], share_factors[t] = factor, shares
        previous = close[t]

    traded = present & (volume > 0) & (bars["open"] > 0) & ~gone
    tradable = traded.copy()
    if require_raw:
        tradable &= ~vendor
    elif rules is not None:
        for t, j in zip(*np.nonzero(traded & vendor), strict=True):
            name = kept.loc[(at[0] == t) & (at[1] == j), "exchange"].iloc[0]
            for price in (int(bars[field][t, j]) for field in PRICES):
                tradable[t, j] &= rules.is_on_tick(Exchange(name), price, sessions[t])
    raw = {name: np.where(traded, bars[name], 0) for name in ("open", "high", "low")}
    raw |= {
        "close": close,
        "reference": reference,
        "volume": np.where(traded, volume, 0),
        "tradable": tradable,
    }
    adjusted = {name: np.where(traded, bars[name] * factors, np.nan) for name in PRICES}
    adjusted |= {
        "volume": np.where(traded, volume / share_factors, np.nan),
        "tradable": traded,
    }
    return raw, adjusted
