"""The first look: what the account is worth against its benchmark, what it may do, who runs it."""

import contextlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Final

import numpy as np
import streamlit as st

from trading.charts import Line
from trading.clock import WallClock
from trading.dashboard import controls, data, frame
from trading.dashboard.data import Account
from trading.dashboard.frame import Tile
from trading.domain.decision import TradingState
from trading.domain.wording import MARKET_TEXT, REGIME_TEXT, STATE_TEXT, money_text
from trading.errors import DataError, MissingDataError
from trading.measures import drawdown
from trading.overview import AccountNow

TITLE: Final = "개요"
# Places of the session's own drawing, from its first check to its last.
_PLACES: Final = 240


def show() -> None:
    """Draw the page, but for the operator's buttons."""
    account = frame.chosen()
    home = frame.installation().home
    now = data.account_now(home, account)
    _standing(now)
    curves = None
    with contextlib.suppress(MissingDataError):
        curves = _curves(account)
    _figures(now, curves)
    st.subheader("계좌와 기준 지표")
    with frame.said():
        _curve(account, curves or _curves(account))
    with frame.said():
        _today(now)
    others = [one for one in data.accounts(home) if one != account]
    if others:
        with frame.said():
            _others(others)


def _standing(now: AccountNow) -> None:
    """Say whether a session runs and what it may do."""
    market = MARKET_TEXT[now.market]
    if now.session is None:
        st.info(f"{market} 시장의 계좌가 열렸고, 세션은 아직 시작하지 않았습니다.")
    elif now.is_running:
        age = (WallClock().now() - now.heartbeat.ts).total_seconds() if now.heartbeat else 0.0
        if age > data.SILENT_SECONDS:
            st.error(
                f"{now.session} 세션의 프로세스는 있으나 심박이 {age:,.0f}초째 없습니다. 멈춘 것일 수 있습니다."
            )
        else:
            replay = " (기록된 날의 재생)" if now.is_replay else ""
            st.success(
                frame.plain(
                    f"{now.session} 세션이 돌고 있습니다{replay}. 거래소 시각 "
                    f"{frame.when(now.venue_now, now.market)}."
                )
            )
    elif now.is_closed:
        st.info(f"지금 도는 세션이 없습니다. 마지막 세션은 {now.session}이고 끝까지 마쳤습니다.")
    else:
        st.warning(
            f"{now.session} 세션이 끝나지 않은 채 멈춰 있습니다. 같은 실행 명령을 다시 치면 이어서 합니다."
        )
    if now.state is not TradingState.ACTIVE:
        word = now.word
        why = " 세션의 제한(하루 손실, 낙폭, 안전장치 훈련) 때문입니다."
        if word.state is now.state:
            since = f" {frame.when(word.since)}부터" if word.since is not None else ""
            why = f" 운영자의 말{since}{f': {word.reason}' if word.reason else ''}"
        st.warning(frame.plain(f"상태: {STATE_TEXT[now.state]}.{why}"))


def _figures(now: AccountNow, curves: "_Curves | None") -> None:
    currency = now.currency
    rows = [
        Tile("평가금액", money_text(now.equity, currency)),
        Tile(
            "오늘 손익" if now.is_running else "마지막 세션 손익",
            frame.signed_money(now.daily_profit, currency),
            frame.percent(now.daily_return),
            now.daily_return,
        ),
        Tile("시작부터", frame.percent(now.total_return)),
    ]
    if curves is not None and curves.ahead is not None:
        rows.append(Tile(f"{curves.name} 대비", f"{100 * curves.ahead:+.2f} %p"))
    rows += [
        Tile("노출", frame.share(now.exposure)),
        Tile("현금", money_text(now.cash, currency)),
        Tile("상태", STATE_TEXT[now.state]),
        Tile("시장 국면", REGIME_TEXT.get(now.regime, now.regime) or "기록 없음"),
        Tile("주문·체결·거부", f"{len(now.orders)}·{now.fills}·{now.refused + now.denied}"),
    ]
    frame.tiles(*rows)
    if now.hours is not None:
        st.caption(f"{MARKET_TEXT[now.market]} 시장: {now.hours.text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curves:
    """The account against its benchmark, from the close before its first session on.

    ``own`` is the growth of one unit of the account, ``level`` the benchmark as it was recorded.
    """

    days: Sequence[date]
    own: Sequence[float]
    level: Sequence[float | None]
    name: str

    @property
    def ahead(self) -> float | None:
        """How far the account is ahead over the sessions that both have, as a fraction."""
        known = [i for i, value in enumerate(self.level) if value]
        if len(known) < 2:
            return None
        first, last = known[0], known[-1]
        before, after = self.level[first] or 0.0, self.level[last] or 0.0
        return self.own[last] / self.own[first] - after / before


def _curves(account: Account) -> _Curves:
    home = frame.installation().home
    told = data.story(home, account)
    if not told.returns:
        raise MissingDataError(
            "끝난 세션이 아직 없어 곡선을 그릴 수 없습니다. 세션이 끝나면 한 점씩 쌓입니다."
        )
    # The account's own curve is in its ledger, whatever became of the reports.
    name, levels = "", dict[date, float]()
    with contextlib.suppress(DataError):
        name, levels = data.benchmark(home, account)
    days = [day for day, _ in told.returns]
    before = max((day for day in levels if day < days[0]), default=days[0] - timedelta(days=1))
    grown = accumulate((1.0 + r for _, r in told.returns), operator.mul, initial=1.0)
    days = [before, *days]
    return _Curves(days=days, own=list(grown), level=[levels.get(day) for day in days], name=name)


def _curve(account: Account, curves: _Curves) -> None:
    base = next((value for value in curves.level if value), None)
    own = 100.0 * np.array(curves.own)
    lines = {"계좌": Line(kind="equity", values=own)}
    if base:
        level = np.array([np.nan if value is None else value for value in curves.level])
        held = level * (own[curves.level.index(base)] / base)
        lines[curves.name] = Line(kind="benchmark", values=held)
    frame.drawing(curves.days, lines, word="{:.2f}".format, title="계좌와 기준 지표", size="tall")
    st.caption(
        "시작을 100으로 놓았습니다. 계좌는 비용과 세금을 뺀 값이고, 기준 지표는 빼지 않은 값입니다."
    )
    with frame.said():
        if not base:
            data.benchmark(frame.installation().home, account)
    falls = -drawdown(np.array(curves.own))
    frame.drawing(
        curves.days,
        {"낙폭": Line(kind="drawdown", values=100.0 * falls, is_area=True)},
        word="{:.2f}%".format,
        title="낙폭",
        unit="%",
        is_pinned=True,
        size="low",
    )
    st.caption(
        f"고점 대비 낙폭. 지금 {frame.percent(falls[-1])}, 가장 깊었던 때 {frame.percent(min(falls))}."
    )


def _today(now: AccountNow) -> None:
    if len(now.marks) < 2:
        return
    st.subheader(f"{now.session} 장중")
    marks = sorted(now.marks, key=lambda one: one.ts)
    passed = [(one.ts - marks[0].ts).total_seconds() for one in marks]
    # Checks are not equally far from each other, places of a drawing are: each has the last check.
    places = np.linspace(0.0, passed[-1], _PLACES)
    values = np.array([one.equity for one in marks])[np.searchsorted(passed, places, "right") - 1]
    zone, unit = data.zone_of(now.market), now.currency.minor_per_unit
    frame.drawing(
        [f"{(marks[0].ts + timedelta(seconds=s)).astimezone(zone):%H:%M}" for s in places.tolist()],
        {"평가금액": Line(kind="equity", values=values / unit)},
        word=lambda value: money_text(round(value * unit), now.currency),
        title="장중 평가금액",
    )
    st.caption("점검 때마다 적은 평가금액입니다. 시각은 그 시장의 현지 시각입니다.")


def _others(others: Sequence[Account]) -> None:
    st.subheader("다른 계좌")
    for one in others:
        with frame.said():
            home = frame.installation().home
            now = data.account_now(home, one)
            running = "세션 도는 중" if now.is_running else "세션 없음"
            st.markdown(
                frame.plain(
                    f"{one.name}: {money_text(now.equity, now.currency)}, 시작부터 "
                    f"{frame.percent(now.total_return)}, {STATE_TEXT[now.state]}, {running} "
                    f"(마지막 {now.session or '없음'})"
                )
            )


if __name__ == "__main__":
    frame.page(TITLE, show, refreshes=True)
    controls.show()
