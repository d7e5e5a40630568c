"""What is known before the open, for people: the market, the screen, and who votes how.

The numbers come from ``strategies.premarket``, ``strategies.screener`` and
``strategies.calibration``; nothing here decides.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.context import DayContext, Prepared, reports_dir
from trading.domain.arrays import FloatArray
from trading.domain.instrument import Currency, Market
from trading.domain.wording import MARKET_TEXT, money_text, percent_text
from trading.errors import MissingDataError
from trading.reporting import Table
from trading.sessions import SessionCalendar
from trading.strategies import calibration, premarket
from trading.strategies.catalog import AGENTS
from trading.strategies.screener import screen_body, screen_text

if TYPE_CHECKING:
    from trading.config import Home

FAMILY_TEXT = {
    "technical": "기술",
    "statistical": "통계",
    "factor": "팩터",
    "forecaster": "예측",
    "reinforcement": "강화학습",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """One agent as it stands before the open.

    ``weight`` is what its votes count now, ``prior`` the configured weight; ``closed`` of its
    views have ended, ``mean`` is what one earned over the market and ``score`` that over its
    deviation. ``long``, ``flat`` and ``short`` count its votes of today. ``hit_rate`` is credited
    to its long views; ``calibration_error`` is the expected error of that, ``diagram`` its bins
    (credited, observed, count). ``None`` where nothing is known.
    """

    name: str
    family: str
    prior: float
    weight: float
    closed: int
    mean: float | None
    score: float | None
    long: int
    flat: int
    short: int
    waiting: int
    hit_rate: float | None
    calibration_error: float | None
    diagram: tuple[tuple[float, float, int], ...]


def before_open(context: DayContext, prepared: Prepared) -> dict[str, Any]:
    """Return market, screen and voters of the session as plain values."""
    row = prepared.row - 1
    found = prepared.research
    lake = context.lake
    series = {
        market: premarket.series_of(lake.frame(market, "index", last=context.session), market)
        for market in Market
    }
    # A calendar takes seconds to make: none for a market of which nothing is recorded.
    calendars = {
        market: context.calendar if market is context.market else SessionCalendar(market)
        for market in Market
        if series[market] or market is context.market
    }
    probability = found.regimes.probability[row]
    known = np.isfinite(probability).all()
    report = premarket.analyze(
        found.bars,
        context.session,
        context.settings.strategies.premarket,
        calendars=calendars,
        regime=prepared.view.regime,
        regime_probability=(
            dict(zip(found.regimes.names, probability.tolist(), strict=True)) if known else {}
        ),
        traces=found.screen.trace(row),
        series=[one for of_market in series.values() for one in of_market],
    )
    correlation = calibration.vote_correlation(found.evaluation.votes)
    names = found.evaluation.agents
    return {
        "session": str(context.session),
        "model_versions": dict(prepared.model_versions),
        "market": report.to_json() | {"text": report.text()},
        "screen": screen_body(found.screen, row),
        "voters": [asdict(voter) for voter in voters(context, prepared)],
        "correlation": {
            name: {other: _known(correlation[a, b]) for b, other in enumerate(names)}
            for a, name in enumerate(names)
        },
        "effective_voters": round(calibration.effective_number(correlation), 2),
    }


def kept(
    home: "Home",
    env: str,
    market: Market,
    session: date | None = None,
    *,
    symbols: Collection[str] = (),
) -> dict[str, Any]:
    """Return what an account's morning of ``session`` kept, of the last one when it is not named.

    Raises
    ------
    MissingDataError
        If nothing was kept of that session, or one of ``symbols`` was not looked at.
    """
    folder = reports_dir(home, env, market)
    found = {path.parent.name: path for path in sorted(folder.glob("*/briefing.json"))}
    if not found:
        raise MissingDataError(
            f"{env} 계좌에 {MARKET_TEXT[market]} 시장의 장전 분석이 아직 없습니다. "
            f"{'trading demo' if env == 'demo' else 'trading run'} 으로 하루를 돌리면 남습니다."
        )
    day = str(session) if session is not None else max(found)
    if day not in found:
        raise MissingDataError(f"{day} 세션의 장전 분석이 없습니다. 마지막은 {max(found)}입니다.")
    body: dict[str, Any] = json.loads(found[day].read_text(encoding="utf-8"))
    known = {name["symbol"] for name in body["screen"]["names"]}
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        raise MissingDataError(f"{day} 세션에서 보지 않은 종목입니다: {', '.join(unknown)}")
    return body


def voters(context: DayContext, prepared: Prepared) -> list[Voter]:
    """Return every agent that votes, as it stands before the open."""
    row, found = prepared.row - 1, prepared.research
    evaluation, strategies = found.evaluation, context.settings.strategies
    listed = []
    for k, name in enumerate(evaluation.agents):
        votes, confidence = evaluation.votes[:, k], evaluation.confidence[:, k]
        record = found.records[k]
        closed = int(record.count[row])
        today = votes[row]
        waiting = int(np.isfinite(evaluation.triggers[row, k]).sum())
        reliability = calibration.vote_reliability(
            votes, confidence, found.bars, strategies.confidence
        )
        listed.append(
            Voter(
                name=name,
                family=str(AGENTS[name].family),
                prior=strategies.of(name).weight,
                weight=float(evaluation.weights[row, k]),
                closed=closed,
                mean=float(record.total[row] / closed) if closed else None,
                score=float(record.score()[row]) if closed else None,
                long=int((today > 0).sum()),
                flat=int((today == 0).sum()),
                short=int((today < 0).sum()),
                waiting=waiting,
                hit_rate=_hit_rate(
                    today, confidence[row], evaluation.trigger_confidence[row, k], waiting
                ),
                calibration_error=_known(reliability.error),
                diagram=tuple(
                    (float(said), float(seen), int(count))
                    for said, seen, count in zip(
                        reliability.predicted, reliability.observed, reliability.count, strict=True
                    )
                    if count
                ),
            )
        )
    return listed


def voter_table(
    voters: Sequence[Voter], attributed: Mapping[str, int], currency: Currency
) -> Table:
    """Return who votes how, and what the closed trades of the account earned each, as a table.

    ``attributed`` is the engine's, in minor units since the account began.
    """
    rows = [
        (
            one.name,
            FAMILY_TEXT[one.family],
            f"{one.weight:.2f}",
            _votes_text(asdict(one)),
            percent_text(one.hit_rate, signed=False, digits=1),
            percent_text(one.calibration_error, signed=False, digits=1),
            f"{one.closed:,}",
            percent_text(one.mean),
            money_text(attributed.get(one.name, 0), currency),
        )
        for one in voters
    ]
    voting = {one.name for one in voters}
    rest = sum(amount for name, amount in attributed.items() if name not in voting)
    if rest:
        rows.append(("그 밖", "—", "—", "—", "—", "—", "—", "—", money_text(rest, currency)))
    total = money_text(sum(attributed.values()), currency)
    return Table(
        title="투표자",
        heads=(
            "전략", "갈래", "가중치", "오늘 의견", "적중률", "보정 오차", "끝난 의견", "건당 평균",
            "계좌가 번 몫",
        ),
        rows=tuple(rows),
        notes=(
            "적중률은 기록이 인정하는 확률, 보정 오차는 그 확률과 실제의 평균 거리(ECE)입니다. 끝난 의견과 "
            "건당 평균은 시장 대비이며, 계좌의 매매와 상관없이 기록에서 잽니다.",
            f"계좌가 번 몫은 판 주식의 실현 손익을 살 때 찬성한 정도로 나눈 것이고, 더하면 {total}입니다.",
        ),
    )  # fmt: skip


def text(body: Mapping[str, Any], *, symbols: Collection[str] = ()) -> str:
    """Return a ``before_open`` as lines in Korean."""
    lines = [body["market"]["text"], "", "종목 선별", screen_text(body["screen"], symbols=symbols)]
    lines += ["", f"투표자 (독립인 투표자 {body['effective_voters']:.1f}명 몫)"]
    for one in body["voters"]:
        lines.append(
            f"  {one['name']:<20} {FAMILY_TEXT[one['family']]:<4} 가중치 {one['weight']:.2f}"
            f" (사전 {one['prior']:.2f})  {_votes_text(one)}  적중률"
            f" {percent_text(one['hit_rate'], signed=False, digits=1)}"
            f"  끝난 의견 {one['closed']:,}건, 건당 평균 {percent_text(one['mean'])}"
        )
    return "\n".join(lines)


def model_tables(context: DayContext) -> list[Table]:
    """Return how the champions stood after the session; nothing where none was examined."""
    from trading.mlops import health

    body = health.read_check(context.home, context.market, context.session)
    if body is None or not body["models"]:
        return []
    return [
        Table(
            title="모델 상태",
            heads=health.HEADS,
            rows=tuple(health.rows(body)),
            notes=(
                "거리는 학습 표본의 창들이 그 앞의 자료와 달랐던 만큼을 1로 센 것입니다. 한도를 넘으면 다시 "
                "학습합니다. 약속 p값이 작을수록 실현된 성과가 검증 때의 약속에 못 미칩니다.",
                health.SKEW_TEXT[body["skew"]],
            ),
        )
    ]


def _votes_text(one: Mapping[str, Any]) -> str:
    counted = (
        ("매수", one["long"]),
        ("중립", one["flat"]),
        ("매도", one["short"]),
        ("돌파 대기", one["waiting"]),
    )
    return " · ".join(f"{name} {count:,}" for name, count in counted if count) or "기권"


def _hit_rate(
    today: FloatArray, confidence: FloatArray, of_triggers: float, waiting: int
) -> float | None:
    if waiting:
        return float(of_triggers)
    long = confidence[today > 0]
    return float(long[0]) if len(long) else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)
