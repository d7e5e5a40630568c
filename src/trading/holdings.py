"""What may be lost with what is held after a session, and what it is exposed to, as plain values.

The measures are those of ``risk``; nothing here decides, and ``risk_tables`` says it in words. What
was wished and capped comes from the session's own decision, worked out again from the lake as
``settlement.parity`` does.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np

from trading.context import DayContext, Prepared, Run, open_engine, panels, prepare, session_event
from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.decision import Decision
from trading.errors import MissingDataError
from trading.execution.decide import Policy, View, plan_of
from trading.execution.engine import Halt
from trading.execution.plan import Plan
from trading.features.factors import FACTORS, factor
from trading.features.indicators import Bars
from trading.features.statistics import session_returns
from trading.live.journal import CLOSED, RecordedSession, read_session
from trading.ports import Ledger, RecordKind
from trading.risk.backtests import VarBacktest, backtest
from trading.risk.exposure import (
    exposure,
    factor_exposure,
    factor_returns,
    portfolio_volatility,
    sector_weights,
    variance_contributions,
)
from trading.risk.limits import RiskSettings, cap_weights
from trading.risk.scenarios import Basis, CrisisWindow, Scenario, ScenarioSettings, replay
from trading.risk.sums import risk_table
from trading.risk.var import METHODS, forecast_path, limit_var, portfolio_outcomes, portfolio_vars
from trading.sessions import SessionCalendar
from trading.store.panels import build_panels

# Beside the level that limits go by: what a regulator asks for (Basel Committee 1996).
FAR_LEVEL: Final = 0.99
# The best and the worst three tenths of the names. Fama, E. and French, K. (1993). "Common Risk
# Factors in the Returns on Stocks and Bonds." Journal of Financial Economics, 33(1), 3-56.
FACTOR_SHARE: Final = 0.3
# A crisis that began before the panel is read from this long before it: who was listed by then.
_BEFORE_CRISIS: Final = timedelta(days=31)
TESTS: Final = (
    "coverage",
    "independence",
    "conditional_coverage",
    "dynamic_quantile",
    "shortfall_given_hits",
    "shortfall",
)
_DIGITS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """The recorded past that weights are measured on.

    Columns are those of the panel and, last, what is held without a record. ``returns`` has shape
    ``(n_sessions, n_instruments)``, NaN where there was none: the first ``n_known`` rows were known
    before the session's open, one more is the session itself. ``factors`` are returns by name over
    the last of the known rows.
    """

    symbols: tuple[str, ...]
    sessions: DateArray
    returns: FloatArray
    n_known: int
    sectors: IntArray
    sector_names: tuple[str, ...]
    factors: Mapping[str, FloatArray]


def risk(context: DayContext, prepared: Prepared | None = None) -> dict[str, Any]:
    """Return what may be lost with what the closed session left, as plain values.

    ``prepared`` is the session's own morning, made from the lake when not given. Weights are holdings at the session's last prices
    as shares of equity; they are measured on the panel's past and, where the lake has it, on the
    session itself. ``None`` stands for what the record does not tell.
    """
    recorded = read_session(context.ledger, context.session)
    closed = recorded.closed
    if closed is None:
        raise MissingDataError(f"{context.session} 세션은 아직 끝나지 않았습니다.")
    prepared = prepared or prepare(context, recorded.evidence)
    equity = closed["equity"]
    prices = closed["engine"]["last_price"]
    held = {
        symbol: quantity * prices[symbol] / equity
        for symbol, (quantity, _) in sorted(closed["engine"]["account"]["positions"].items())
    }
    past = _past(context, prepared, held)
    weights = np.array([held.get(symbol, 0.0) for symbol in past.symbols])
    champion = int(prepared.view.morning.var_champion)
    curve = equity_curve(context.ledger, context.run, context.calendar, context.session)
    settings = context.policy.risk
    own = account_returns(context.ledger, curve)
    if context.run.positions:
        # What was held when the account was taken over began at cost: that is no day's return.
        own = own[1:]
    decision, wished, allowed = _decided(context, prepared, recorded, past)
    names = _names(context, past, weights, wished, allowed)
    sectors = _sectors(names)
    var = tail(weights, past, champion, settings)
    return {
        "session": str(context.session),
        "market": str(context.market),
        "currency": str(context.market.currency),
        "first": str(past.sessions[0]),
        "as_of": str(past.sessions[-1]),
        "equity": equity,
        "level": settings.var_level,
        "method": str(METHODS[champion]) if champion >= 0 else None,
        "limits": limits(
            names,
            sectors,
            var,
            equity=equity,
            earned=float(own[-1]) if len(own) else 0.0,
            peak=closed["engine"]["risk"]["peak"],
            settings=settings,
        ),
        "var": var,
        "exposure": decision,
        "backtests": backtests(weights, past, settings),
        "account": judged(own, settings),
        "names": names,
        "sectors": sectors,
        "factors": factor_body(weights, past, context.policy),
        "scenarios": [
            scenario_body(one) for one in _scenarios(context, weights, past, settings.scenarios)
        ],
    }


def equity_curve(
    ledger: Ledger, run: Run, calendar: SessionCalendar, session: date
) -> list[tuple[date, int]]:
    """Return (session, equity) after each close, beginning with the capital the day before.

    Of the whole account until ``session``: a run of one session has a yesterday too. What was held
    when it was taken over was there before the first trade, at cost.
    """
    ends = {
        record.session: record.body["equity"]
        for record in ledger.read(RecordKind.SESSION)
        if record.key.endswith(CLOSED) and record.session <= session
    }
    closed = sorted(ends.items())
    first = closed[0][0] if closed else session
    began = run.starting_cash + sum(cost for _, cost in run.positions.values())
    return [(calendar.previous(first), began), *closed]


def account_returns(ledger: Ledger, curve: Sequence[tuple[date, int]]) -> FloatArray:
    """Return the account's own returns; what the operator brought or took is none."""
    moved = brought(ledger, [session for session, _ in curve])
    bases = [before + moved[session] for (_, before), (session, _) in pairwise(curve)]
    return np.array(
        [
            # With nothing in the account there was nothing to earn with.
            equity / base - 1.0 if base > 0 else 0.0
            for base, (_, equity) in zip(bases, curve[1:], strict=True)
        ],
        dtype=np.float64,
    )


def brought(ledger: Ledger, sessions: Sequence[date]) -> dict[date, int]:
    """Return what each session began with that the one before had not left.

    Shares count at the session's last price, those that are all gone at the last one before: what
    the adjustment itself says is what was once paid for them.
    """
    moved = dict.fromkeys(sessions, 0)
    accepted = list(ledger.read(RecordKind.ADJUSTMENT))
    if not accepted:
        return moved
    closes = {
        record.session: record.body["engine"]["last_price"]
        for record in ledger.read(RecordKind.SESSION)
        if record.key.endswith(CLOSED)
    }
    for record in accepted:
        # It is taken into the books by the first session from then on that came to its end.
        place = bisect_left(sessions, record.session)
        if place == len(sessions):
            continue
        known = [closes.get(day, {}) for day in reversed(sessions[max(place - 1, 0) : place + 1])]
        for one in record.body["adjustments"]:
            symbol = one["symbol"]
            price = next((prices[symbol] for prices in known if symbol in prices), one["price"])
            moved[sessions[place]] += one["amount"] * (price if symbol else 1)
    return moved


# --- what the weights may lose --------------------------------------------------------------------


def tail(
    weights: FloatArray, past: Past, champion: int, settings: RiskSettings
) -> dict[str, Any] | None:
    """Return VaR and expected shortfall by every method with standard errors.

    ``limit`` is the VaR that limits go by. ``None`` without weights, or where fewer than
    ``var_min_sessions`` past sessions have a return of any of them.
    """
    held = np.flatnonzero(weights)
    weights = weights[held]
    returns = np.ascontiguousarray(past.returns[-settings.var_window_sessions :, held])
    if not len(held) or np.isfinite(returns).any(axis=1).sum() < settings.var_min_sessions:
        return None
    outcomes = portfolio_outcomes(weights, returns)
    alpha, beta = settings.var.garch_alpha, settings.var.garch_beta
    limit = limit_var(portfolio_vars(weights, returns, settings.var_level, alpha, beta), champion)
    in_force = str(METHODS[champion]) if champion >= 0 else ""
    return {
        "sessions": len(outcomes),
        "limit": _known(limit),
        "rows": [
            {
                "method": str(one.method),
                "level": level,
                "sessions": one.sessions,
                "var": _known(one.var),
                "var_error": _known(one.var_error),
                "es": _known(one.es),
                "es_error": _known(one.es_error),
                "in_force": str(one.method) == in_force,
            }
            for level in dict.fromkeys((settings.var_level, FAR_LEVEL))
            for one in risk_table(
                outcomes,
                level=level,
                settings=settings.var,
                rng=np.random.default_rng(settings.demotion.seed),
            )
        ],
    }


def backtests(weights: FloatArray, past: Past, settings: RiskSettings) -> dict[str, Any]:
    """Return how the forecasts would have fared on today's weights held over the past.

    ``rows`` holds each method on each of ``demotion.windows`` that the record is long enough for;
    ``sessions`` is how long it is, ``needed`` how long the shortest window asks for. ``listed`` is
    the share of the holdings that was listed when the longest window shown began: before its
    listing a name does not move.
    """
    held = np.flatnonzero(weights)
    returns = past.returns[:, held]
    known = np.isfinite(returns)
    begun = np.flatnonzero(known.any(axis=1))
    first = int(begun[0]) if len(begun) else len(returns)
    outcomes = portfolio_outcomes(weights[held], np.ascontiguousarray(returns[first:]))
    body = judged(outcomes, settings)
    longest = max((row["sessions"] for row in body["rows"]), default=0)
    listed = None
    if longest:
        start = len(returns) - longest - settings.var_window_sessions
        share = weights[held] * known[: start + 1].any(axis=0)
        listed = _known(float(share.sum() / weights[held].sum()))
    return body | {"listed": listed}


def judged(outcomes: FloatArray, settings: RiskSettings) -> dict[str, Any]:
    """Return the tests of every method on the last outcomes of one portfolio; see ``backtests``.

    P-values are the simulated ones; ``None`` where a test has nothing to look at.
    """
    window, level, var = settings.var_window_sessions, settings.var_level, settings.var
    spans = [span for span in settings.demotion.windows if len(outcomes) >= span + window]
    body: dict[str, Any] = {
        "sessions": len(outcomes),
        "needed": min(settings.demotion.windows) + window,
        "rows": [],
    }
    if not spans or not np.ptp(outcomes) > 0.0:
        return body
    outcomes = np.ascontiguousarray(outcomes[-max(spans) - window :])
    path = forecast_path(outcomes, window, level, var.garch_alpha, var.garch_beta)
    for span in sorted(spans):
        for m, method in enumerate(METHODS):
            # Who forecast no loss at all was wrong beyond measure.
            with np.errstate(divide="ignore"):
                found = backtest(
                    outcomes[-span:],
                    path[-span:, m, 0],
                    path[-span:, m, 1],
                    level=level,
                    settings=settings.demotion,
                )
            body["rows"].append({"method": str(method)} | _tested(found))
    return body


def _tested(found: VarBacktest) -> dict[str, Any]:
    return {
        "sessions": found.sessions,
        "hits": found.hits,
        "expected": _known(found.expected),
        "p_values": {name: _known(getattr(found, name).simulated) for name in TESTS},
        "zone": str(found.zone),
    }


def factor_body(weights: FloatArray, past: Past, policy: Policy) -> dict[str, Any] | None:
    """Return betas on the factors with standard errors and what each adds to the variance.

    A factor without enough returns has ``None``; ``specific`` is the share of the variance that
    no factor explains. ``None`` without weights.
    """
    if not weights.any() or not past.factors:
        return None
    n = len(next(iter(past.factors.values())))
    held = np.flatnonzero(weights)
    returns = np.ascontiguousarray(past.returns[past.n_known - n : past.n_known, held])
    found = factor_exposure(
        portfolio_outcomes(weights[held], returns),
        dict(past.factors),
        sessions_per_year=policy.sessions_per_year,
        min_sessions=policy.risk.var_min_sessions,
    )
    return {
        "sessions": found.sessions,
        "annual_volatility": _known(found.annual_volatility),
        "specific": _known(found.specific),
        "rows": [
            {"name": name, "beta": _known(beta), "error": _known(error), "share": _known(share)}
            for name, beta, error, share in zip(
                found.names, found.beta, found.error, found.contribution, strict=True
            )
        ],
    }


def scenario_body(one: Scenario) -> dict[str, Any]:
    """Return a replayed crisis; a holding that did not move on its own record is ``flagged``."""
    flagged = [h for h in one.holdings if h.basis is not Basis.OWN]
    return {
        "name": one.name,
        "is_covered": one.is_covered,
        "sessions": len(one.sessions),
        "loss": _known(one.loss) if one.is_covered else None,
        "worst_day": _known(one.worst_day) if one.is_covered else None,
        "worst_session": str(one.worst_session) if one.worst_session is not None else None,
        "max_drawdown": _known(one.max_drawdown) if one.is_covered else None,
        "own": _known(one.own),
        "proxy": _known(one.proxy),
        "left_out": _known(one.left_out),
        "flagged": {h.symbol: str(h.basis) for h in flagged} if one.is_covered else {},
        "holdings": {
            h.symbol: {"basis": str(h.basis), "contribution": _known(h.contribution)}
            for h in one.holdings
            if one.is_covered
        },
    }


def limits(
    names: Sequence[Mapping[str, Any]],
    sectors: Sequence[Mapping[str, Any]],
    var: Mapping[str, Any] | None,
    *,
    equity: int,
    earned: float,
    peak: int,
    settings: RiskSettings,
) -> list[dict[str, Any]]:
    """Return each limit with what there is of it and what room is left, fractions of equity.

    ``earned`` is the account's own return of the session, ``peak`` the highest equity since the
    last reset of the drawdown limit.
    """
    one = max(names, key=lambda name: name["held"], default=None)
    largest = max(
        (sector for sector in sectors if sector["name"]), key=lambda s: s["held"], default=None
    )
    rows: tuple[tuple[str, float | None, float, str], ...] = (
        ("single_name", one["held"] if one else 0.0, settings.max_single_name, "symbol"),
        ("sector", largest["held"] if largest else 0.0, settings.max_sector, "name"),
        ("gross", sum(name["held"] for name in names), settings.max_gross, ""),
        ("var", _var_of(names, var), settings.max_portfolio_var, ""),
        ("drawdown", 1.0 - equity / max(peak, equity), settings.max_drawdown, ""),
        ("daily_loss", max(0.0, -earned), settings.max_daily_loss, ""),
    )
    of = {"symbol": one, "name": largest}
    return [
        {
            "name": name,
            "of": (of[key] or {}).get(key, "") if key and value else "",
            "value": None if value is None else _known(value),
            "limit": limit,
            "room": None if value is None else _known(limit - value),
        }
        for name, value, limit, key in rows
    ]


def _var_of(names: Sequence[Mapping[str, Any]], var: Mapping[str, Any] | None) -> float | None:
    if var is not None:
        value: float | None = var["limit"]
        return value
    return None if any(name["held"] for name in names) else 0.0


# --- what stands behind it ------------------------------------------------------------------------


def _past(context: DayContext, prepared: Prepared, held: Mapping[str, float]) -> Past:
    """Return the past of the morning and, of what is held, the session itself once it is recorded."""
    evaluation = prepared.research.evaluation
    known = evaluation.returns[: prepared.row]
    sessions, returns = prepared.raw.sessions[: prepared.row], known
    # The panel of the morning ends before the session; its own bars are in the lake by now.
    _, adjusted, row = panels(context)
    symbols, sectors = prepared.raw.symbols, evaluation.sectors[prepared.row - 1]
    factors = _factors(context, prepared, known)
    if adjusted.symbols == symbols:
        # Of names that are not held the lake may learn more after this report.
        of_held = [i for i, symbol in enumerate(symbols) if symbol in held]
        today = _moves_of(adjusted.close, row, of_held)
        if np.isfinite(today).any():
            sessions = prepared.raw.sessions[: row + 1]
            returns = np.concatenate([known, today[None, :]])
    strange = tuple(symbol for symbol in held if symbol not in symbols)
    if strange:
        nothing = np.full((len(returns), len(strange)), np.nan)
        returns = np.concatenate([returns, nothing], axis=1)
        sectors = np.concatenate([sectors, np.full(len(strange), -1, dtype=np.int64)])
    return Past(
        symbols=(*symbols, *strange),
        sessions=sessions,
        returns=returns,
        n_known=len(known),
        sectors=sectors,
        sector_names=prepared.facts.sector_names,
        factors=factors,
    )


def _moves_of(close: FloatArray, row: int, columns: Sequence[int]) -> FloatArray:
    """Return the move of each of ``columns`` in ``row`` from its last close before; NaN elsewhere."""
    moves = np.full(close.shape[1], np.nan)
    for i in columns:
        before = np.flatnonzero(np.isfinite(close[:row, i]))
        if len(before):
            moves[i] = close[row, i] / close[before[-1], i] - 1.0
    return moves


def _factors(context: DayContext, prepared: Prepared, returns: FloatArray) -> dict[str, FloatArray]:
    """Return what the market and each factor earned over the VaR's window of the known past."""
    n = min(context.policy.risk.var_window_sessions, len(returns))
    # One row more than is shown: the first day's names were ranked the evening before.
    rows = slice(max(len(returns) - n - 1, 0), len(returns))
    settings, bars = context.settings.features.factors, prepared.research.bars
    tradable = np.ascontiguousarray(prepared.raw.tradable[rows])
    recent = np.ascontiguousarray(returns[rows])
    scores = {name: factor(bars, name, settings)[rows] for name in FACTORS}
    listed = prepared.facts.fundamentals.get("market_value")
    scores["size"] = np.full(recent.shape, np.nan) if listed is None else -np.log(listed[rows])
    found = {"market": _market(prepared, recent, tradable, rows)} | {
        name: factor_returns(
            recent, np.ascontiguousarray(score), tradable, FACTOR_SHARE, settings.min_names
        )
        for name, score in scores.items()
    }
    return {name: earned[len(earned) - n :] for name, earned in found.items()}


def _market(
    prepared: Prepared, returns: FloatArray, tradable: BoolArray, rows: slice
) -> FloatArray:
    """Return the index's returns, or where it was not recorded the mean of what was tradable."""
    level = prepared.adjusted.benchmark[: rows.stop]
    move = np.full(len(level), np.nan)
    move[1:] = level[1:] / level[:-1] - 1.0
    known = np.isfinite(returns) & tradable
    total = np.cumsum(np.where(known, returns, 0.0), axis=1)[:, -1]
    mean = total / np.maximum(known.sum(axis=1), 1)
    index: FloatArray = move[rows]
    return index if np.isfinite(index).all() else mean


def _decided(
    context: DayContext, prepared: Prepared, recorded: RecordedSession, past: Past
) -> tuple[dict[str, Any] | None, FloatArray | None, FloatArray]:
    """Return why the exposure is what it is, the wished weights and the allowed ones."""
    place = {symbol: i for i, symbol in enumerate(past.symbols)}
    allowed = np.zeros(len(past.symbols))
    found = _planned(context, prepared, recorded)
    if recorded.decision is None:
        return None, None, allowed
    if found is None:
        # What was allowed is on record; what was wished before the caps, and why, is not.
        for choice in recorded.decision.choices:
            if choice.symbol in place:
                allowed[place[choice.symbol]] = choice.weight
        return {"exposure": _known(recorded.decision.exposure), "cause": None}, None, allowed
    view, plan, previous, drawdown = found
    columns = [place[symbol] for symbol in view.symbols]
    wished = np.zeros(len(past.symbols))
    wished[columns], allowed[columns] = plan.wished, plan.weights
    body = exposure_body(view, plan, context.policy, previous=previous, drawdown=drawdown)
    return body, wished, allowed


def _names(
    context: DayContext,
    past: Past,
    weights: FloatArray,
    wished: FloatArray | None,
    allowed: FloatArray,
) -> list[dict[str, Any]]:
    """Return each name from wish to holding with its shares of the variance, the largest first."""
    asked = wished if wished is not None else np.zeros(len(weights))
    shown = np.flatnonzero((asked > 0.0) | (allowed > 0.0) | (weights != 0.0))
    window = context.policy.risk.var_window_sessions
    returns = np.ascontiguousarray(past.returns[-window:, shown])
    shares = [variance_contributions(one[shown], returns) for one in (asked, allowed, weights)]
    known = np.isfinite(returns).sum(axis=0)
    names = {i.symbol: i.name for i in context.lake.instruments(context.market)}
    rows = [
        {
            "symbol": past.symbols[i],
            "name": names.get(past.symbols[i], ""),
            "sector": past.sector_names[past.sectors[i]] if past.sectors[i] >= 0 else "",
            "wished": _known(asked[i]) if wished is not None else None,
            "allowed": _known(allowed[i]),
            "held": _known(weights[i]),
            "variance_wished": _known(shares[0][k]) if wished is not None else None,
            "variance_allowed": _known(shares[1][k]),
            "variance_held": _known(shares[2][k]),
            "sessions": int(known[k]),
        }
        for k, i in enumerate(shown.tolist())
    ]
    return sorted(
        rows,
        key=lambda one: (-one["held"], -one["allowed"], -(one["wished"] or 0.0), one["symbol"]),
    )


def _planned(
    context: DayContext, prepared: Prepared, recorded: RecordedSession
) -> tuple[View, Plan, float, float] | None:
    """Return the numbers of the session's decision, the exposure before it and the drawdown.

    ``None`` where there was no decision, or where the lake and the settings of today no longer
    lead to it: then nobody knows what had been wished.
    """
    if recorded.decision is None:
        return None
    engine = open_engine(context, recorded)
    view = prepared.views.at(
        prepared.row, held=engine.account.positions, untradable=recorded.evidence.untradable
    )
    start = session_event(context, prepared, engine)
    engine.handle(Halt(ts=start.open_ts, state=recorded.allowed))
    engine.handle(start)
    plan, _ = plan_of(view, engine.account.portfolio(), context.policy, engine.risk)
    if not _is_the_same(plan, view, recorded.decision):
        return None
    return view, plan, engine.risk.exposure, max(0.0, 1.0 - engine.equity() / engine.risk.peak)


def _is_the_same(plan: Plan, view: View, decision: Decision) -> bool:
    choices = decision.choices
    return (
        tuple(choice.symbol for choice in choices) == view.symbols
        and [choice.weight for choice in choices] == plan.weights.tolist()
        and [choice.target_quantity for choice in choices] == plan.target.tolist()
    )


def exposure_body(
    view: View, plan: Plan, policy: Policy, *, previous: float, drawdown: float
) -> dict[str, Any]:
    """Return the factor on all weights with what each measure would allow alone, and the cause."""
    settings, numbers, ladder = policy.risk, policy.numbers, policy.risk.exposure.ladder
    capped, _ = cap_weights(
        plan.wished,
        view.morning.sectors,
        numbers.max_single_name,
        numbers.max_sector,
        numbers.max_gross,
    )
    volatility = numbers.annual * portfolio_volatility(
        portfolio_outcomes(capped, view.morning.returns),
        numbers.exposure_half_life,
        numbers.var_min_sessions,
    )
    measures = {
        "volatility": float(volatility),
        "var": float(plan.expected_loss),
        "drawdown": drawdown,
    }

    def alone(name: str) -> float:
        # From 1 the factor falls to the bound at once.
        only = {key: value if key == name else 0.0 for key, value in measures.items()}
        return exposure(
            1.0,
            only["volatility"],
            only["drawdown"],
            only["var"],
            numbers.exposure_target,
            numbers.max_portfolio_var,
            ladder,
            numbers.exposure_band,
            numbers.exposure_max_rise,
        )

    bounds = {name: alone(name) for name in measures}
    tightest = min(bounds, key=lambda name: bounds[name])
    factor_now = float(plan.exposure)
    if any(math.isnan(value) for value in measures.values()) and factor_now < 1.0:
        cause = "unmeasured"
    elif factor_now >= 1.0:
        cause = "full"
    elif factor_now >= bounds[tightest]:
        cause = tightest
    else:
        cause = "rising" if factor_now > previous else "waiting"
    return {
        "exposure": _known(factor_now),
        "previous": _known(previous),
        "cause": cause,
        "measures": {name: _known(value) for name, value in measures.items()},
        "targets": {
            "volatility": settings.exposure.annual_volatility_target,
            "var": settings.max_portfolio_var,
        },
        "bounds": {name: _known(value) for name, value in bounds.items()},
    }


def _sectors(names: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return wished and held weights by sector, the largest first; "" for names without one."""
    listed = sorted({one["sector"] for one in names})
    codes = np.array([listed.index(one["sector"]) for one in names], dtype=np.int64)
    held = sector_weights(np.array([one["held"] for one in names]), codes, len(listed))
    wished = sector_weights(np.array([one["wished"] or 0.0 for one in names]), codes, len(listed))
    rows = [
        {"name": name, "wished": _known(wished[code]), "held": _known(held[code])}
        for code, name in enumerate(listed)
    ]
    return sorted(rows, key=lambda row: (-float(row["held"] or 0.0), str(row["name"])))


def _scenarios(
    context: DayContext, weights: FloatArray, past: Past, settings: ScenarioSettings
) -> list[Scenario]:
    """Return every crisis replayed on the panel, or on the lake where it reaches further back."""
    found = replay(
        weights,
        past.symbols,
        past.sectors,
        past.returns[: past.n_known],
        past.sessions[: past.n_known],
        settings,
    )
    return [
        one
        if one.is_covered or not weights.any()
        else _from_lake(context, weights, past, settings, window) or one
        for one, window in zip(found, settings.windows, strict=True)
    ]


def _from_lake(
    context: DayContext,
    weights: FloatArray,
    past: Past,
    settings: ScenarioSettings,
    window: CrisisWindow,
) -> Scenario | None:
    """Return a crisis from before the panel, of every name that the lake had then.

    ``None`` where a session of it is not recorded.
    """
    begun = [part.first for part in context.lake.parts(context.market, "daily").values()]
    first = min((day for day in begun if day is not None), default=None)
    if first is None or first >= str(window.first) or window.last >= context.session:
        return None
    _, panel = build_panels(
        context.lake,
        context.calendar,
        context.market,
        None,
        max(window.first - _BEFORE_CRISIS, date.fromisoformat(first)),
        window.last,
        benchmark=context.settings.universe.benchmark[context.market],
    )
    inside = panel.sessions.astype("datetime64[D]") >= np.datetime64(window.first)
    if inside.all() or not np.isfinite(panel.close[inside]).any(axis=1).all():
        return None
    returns = session_returns(Bars(panel))
    held = np.flatnonzero(weights)
    later = [past.symbols[i] for i in held if past.symbols[i] not in panel.symbols]
    symbols = (*panel.symbols, *later)
    returns = np.concatenate([returns, np.full((len(returns), len(later)), np.nan)], axis=1)
    share = {past.symbols[i]: weights[i] for i in held}
    code = {name: i for i, name in enumerate(past.sector_names)}
    sector = {
        i.symbol: code.get(i.sector or "", -1) for i in context.lake.instruments(context.market)
    }
    (found,) = replay(
        np.array([share.get(symbol, 0.0) for symbol in symbols]),
        symbols,
        np.array([sector.get(symbol, -1) for symbol in symbols], dtype=np.int64),
        returns,
        panel.sessions,
        settings.model_copy(update={"windows": (window,)}),
    )
    return found


def _known(value: float) -> float | None:
    return round(float(value), _DIGITS) + 0.0 if math.isfinite(value) else None
