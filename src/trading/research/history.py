"""Recorded history as research trades it: what was asked for, its law, and what voted.

What is done with it is in the other modules of this package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trading import bootstrap
from trading.backtest.record import ENSEMBLE
from trading.bootstrap import Installation
from trading.domain.actions import CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, Facts, PriceBasis, RawPanel
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, UsageError
from trading.execution.decide import Policy
from trading.execution.engine import SessionStart
from trading.ports import DatasetSource
from trading.sessions import SessionCalendar
from trading.simulation.paths import Print

if TYPE_CHECKING:
    from trading.backtest.replay import IntradayReplay, ReplayKind
    from trading.store.universe import Survivorship
    from trading.strategies.catalog import StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which recorded history is traded; ``None`` takes the configured or the whole.

    ``first_bar`` is where the panels begin: it is part of the policy, and a demo has its own.
    """

    market: Market | None = None
    symbols: Sequence[str] | None = None
    first: date | None = None
    last: date | None = None
    dataset: Path | None = None
    first_bar: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Recorded panels of one market, and the law they were traded under."""

    market: Market
    source: DatasetSource
    raw: RawPanel
    adjusted: AdjustedPanel
    actions: tuple[CorporateAction, ...]
    calendar: SessionCalendar
    rules: MarketRules
    policy: Policy
    facts: Facts
    standing: IntArray
    survivorship: "Survivorship"
    first: date
    last: date
    names: Mapping[str, str]


def load_history(installation: Installation, scope: Scope, strategy: str | None = None) -> History:
    """Return the recorded history that ``scope`` asks for, to trade ``strategy`` in.

    Raises
    ------
    MissingDataError
        If nothing was recorded of it, or no prices as traded.
    UsageError
        If there is no such strategy, a symbol is not recorded, or the dates are the wrong way round.
    """
    from trading.store.datasets import forget_tables
    from trading.store.facts import facts_from, rows_of
    from trading.store.panels import assemble_panels
    from trading.store.universe import standings, survivorship

    settings = installation.settings
    if strategy is not None:
        # Before seconds of reading.
        agents_of(strategy, settings.strategies)
    market = scope.market or settings.app.market
    # In the order of a live panel, once each: how they were typed decides nothing.
    symbols = sorted(set(scope.symbols)) if scope.symbols is not None else None
    first = scope.first
    source = bootstrap.open_source(installation, scope.dataset)
    rules, calendar = bootstrap.rules_and_calendar(settings, market)
    recorded = source.sessions(market)
    if not recorded:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    if scope.first_bar is not None:
        recorded = [day for day in recorded if day >= scope.first_bar]
        if len(recorded) < 2:
            raise MissingDataError(f"{scope.first_bar}부터는 거래할 기록이 없습니다.")
    if first is not None and not recorded[0] < first <= recorded[-1]:
        raise MissingDataError(
            f"{first}에 거래할 기록이 없습니다. 기록: {recorded[0]} ~ {recorded[-1]} (첫날 제외)"
        )
    last = min(scope.last or recorded[-1], recorded[-1])
    first = first or recorded[min(len(recorded) - 1, settings.app.demo.warmup_sessions[market])]
    if first > last:
        raise UsageError(f"시작일 {first}이(가) 끝일 {last}보다 늦습니다.")
    instruments = {i.symbol: i for i in source.instruments(market)}
    unknown = [s for s in symbols or () if s not in instruments]
    if unknown:
        raise UsageError(f"기록에 없는 종목입니다: {', '.join(unknown)}")
    frame = source.daily(market, symbols, recorded[0], last)
    actions = tuple(source.actions(market, recorded[0], last))
    name = settings.universe.benchmark[market]
    index = source.index(market, recorded[0], last)
    raw, adjusted = assemble_panels(
        frame,
        actions,
        calendar.sessions(recorded[0], last),
        market,
        symbols,
        exchanges={s: i.exchange for s, i in instruments.items()},
        index=index.loc[index["name"] == name] if len(index) else None,
        benchmark=name,
        rules=rules,
        require_raw=settings.app.data.require_raw[market],
    )
    del frame, index
    is_asked = (raw.sessions >= np.datetime64(first)) & (raw.sessions <= np.datetime64(last))
    if settings.app.data.require_raw[market] and not raw.tradable[is_asked].any():
        raise MissingDataError(
            f"{first} ~ {last}에는 이 종목들이 실제 거래된 가격(원주가)이 기록되지 않아 주문할 수 없습니다. "
            f"수정주가로라도 시험하려면 config/app.yaml의 data.require_raw.{market}을(를) false로 "
            "두십시오."
        )
    facts = facts_from(source, market, raw.sessions, raw.symbols)
    listings = rows_of(source, "listings", market, raw.symbols, recorded[0], last)
    standing = standings(listings, raw.sessions, raw.symbols)
    del listings
    # All are arrays now, and what comes next needs as much room again.
    forget_tables()
    return History(
        market=market,
        source=source,
        raw=raw,
        adjusted=adjusted,
        actions=tuple(a for a in actions if a.symbol in raw.symbols),
        calendar=calendar,
        rules=rules,
        policy=bootstrap.policy_of(settings, market, calendar),
        facts=facts,
        standing=standing,
        survivorship=survivorship(
            market, instruments.values(), first, last, are_chosen=symbols is not None
        ),
        first=first,
        last=last,
        names={symbol: item.name for symbol, item in instruments.items() if item.name},
    )


def replay_of(history: History, kind: "ReplayKind") -> "IntradayReplay | None":
    """Return the sessions' intraday record, ``None`` for their daily bars.

    Raises
    ------
    MissingDataError
        If no session of the history has such a record.
    """
    from trading.backtest.replay import IntradayReplay, ReplayKind, minutes

    if kind is ReplayKind.DAILY:
        return None
    source, market = history.source, history.market
    is_ticks = kind is ReplayKind.TICK
    recorded = source.tick_sessions(market) if is_ticks else source.minute_sessions(market)
    if not any(history.first <= day <= history.last for day in recorded):
        what = "체결" if is_ticks else "분봉"
        span = (
            f"{recorded[0]} ~ {recorded[-1]} 사이 {len(recorded):,}거래일" if recorded else "없음"
        )
        raise MissingDataError(
            f"{history.first} ~ {history.last}에는 {what} 기록이 없습니다. "
            f"{what} 기록이 있는 날: {span}"
        )

    def of_minutes(start: SessionStart, symbols: Sequence[str]) -> dict[str, list[Print]]:
        # Of all names: how wide a bar is shows in those that traded in every one.
        frame = source.minute(market, start.session, history.raw.symbols)
        return minutes(market, start, frame, symbols)

    def of_ticks(start: SessionStart, symbols: Sequence[str]) -> dict[str, list[Print]]:
        from trading.store.minutes import prints

        ticks = source.table("ticks", market, symbols, start.session, start.session)
        return prints(ticks, history.calendar)

    days = frozenset(recorded)
    of_session = of_ticks if is_ticks else of_minutes
    return IntradayReplay(
        history.raw,
        history.rules,
        kind,
        lambda start, symbols: of_session(start, symbols) if start.session in days else {},
    )


def with_slippage(
    history: History, slippage_bps: float | None = None, impact: float | None = None
) -> History:
    """Return the history traded at other costs than configured, in ``SlippageSettings``' units.

    ``slippage_bps`` is taken off in auctions too: what a fill there may cost is asked for.
    """
    from pydantic import ValidationError

    from trading.simulation.slippage import SlippageSettings

    asked = {
        **(
            {"half_spread_bps": slippage_bps, "auction_bps": slippage_bps}
            if slippage_bps is not None
            else {}
        ),
        **({"impact": impact} if impact is not None else {}),
    }
    orders = history.policy.orders
    try:
        slippage = SlippageSettings.model_validate(orders.slippage.model_dump() | asked)
    except ValidationError as error:
        name = "impact" if error.errors()[0]["loc"] == ("impact",) else "slippage-bps"
        raise UsageError(
            f"쓸 수 없는 값입니다: --{name} (0 이상이어야 하고 너무 크면 안 됩니다)"
        ) from None
    policy = replace(history.policy, orders=orders.model_copy(update={"slippage": slippage}))
    return replace(history, policy=policy)


def agents_of(strategy: str, strategies: "StrategySettings") -> tuple[str, ...]:
    """Return the agents that vote for ``strategy``; ``UsageError`` for one that there is not."""
    from trading.strategies.catalog import AGENTS

    if strategy == ENSEMBLE:
        return strategies.enabled()
    if strategy not in AGENTS:
        raise UsageError(f"없는 전략입니다: {strategy} (있는 것: {', '.join((*AGENTS, ENSEMBLE))})")
    return (strategy,)


def evidence_of(history: History) -> dict[str, Any]:
    """Return what biases the history that was traded."""
    return {
        "price_basis": str(history.raw.basis),
        "survivorship": str(history.survivorship.verdict),
        "survivorship_text": history.survivorship.text,
        # Instruments carry one sector each, as of no day.
        "are_sectors_of_today": bool(
            history.facts.sector_names and not history.facts.sectors_of_the_day
        ),
    }


def evidence_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what biases the history, as a user reads it."""
    from trading.domain.wording import BASIS_TEXT

    lines = [
        f"  가격 기준: {BASIS_TEXT[PriceBasis(result['price_basis'])]}",
        f"  생존 편향: {result['survivorship_text']}",
    ]
    if result["are_sectors_of_today"]:
        lines.append("  업종: 오늘의 분류를 지난 날에도 썼습니다 (그날 알 수 없던 값)")
    return lines
