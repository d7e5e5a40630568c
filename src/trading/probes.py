"""What an account at KIS can do, found out by asking: read-only, one finding a question.

``trading check --env paper|real`` shows it. No order is ever sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from trading import bootstrap
from trading.bootstrap import Installation
from trading.broker.client import KisClient
from trading.broker.rest import Priority
from trading.config import Env
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import BrokerError, SessionBusyError, TradingError
from trading.sessions import SessionCalendar
from trading.wire import (
    codes,
    domestic_account,
    domestic_company,
    domestic_orders,
    overseas_account,
    overseas_orders,
    values,
)
from trading.wire import endpoints as at
from trading.wire.endpoints import Endpoint, Profile
from trading.wire.overseas_codes import TRADE_CODES
from trading.wire.records import HolidayRow, Page

Finding = dict[str, str]
STREAM_SECONDS = 20.0


def finding(code: str, severity: str, cause: str, action: str = "") -> Finding:
    """Return one finding; severity is ``ok``, ``info`` or ``error``."""
    return {"code": code, "severity": severity, "cause": cause, "action": action}


def probe(installation: Installation, env: Env, market: Market) -> list[Finding]:
    """Ask the account of ``env`` what it can do; it needs the keys."""
    return asyncio.run(_probe(installation, env, market))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The account that is asked, and one share to ask about."""

    client: KisClient
    account: str
    instrument: Instrument
    today: date
    is_traded: bool
    rules: MarketRules

    @property
    def market(self) -> Market:
        return self.client.market

    async def ask(self, endpoint: Endpoint, fields: Mapping[str, str]) -> Mapping[str, object]:
        return await self.client.transport.ask(endpoint, fields, priority=Priority.BALANCE)


async def _probe(installation: Installation, env: Env, market: Market) -> list[Finding]:
    client, account = bootstrap.open_account(installation, env, market)
    try:
        some = next(iter(client.instruments.values()), None)
        if some is None:
            return [
                finding(
                    "KIS_NO_SYMBOL", "error", f"{MARKET_TEXT[market]} 종목이 설정에 없습니다.",
                    "config/universe.yaml의 instruments에 종목을 적으십시오.",
                )
            ]  # fmt: skip
        subject = _Subject(
            client=client,
            account=account,
            instrument=some,
            today=values.local_date(client.clock.now(), market),
            is_traded=_is_traded(installation, env, market),
            rules=installation.settings.markets[market],
        )
        found = [await _answered("KIS_TOKEN", "접근토큰", _token, subject)]
        if found[0]["severity"] == "error":
            # Whatever else were asked would only say the same again.
            return found
        for code, title, question in _QUESTIONS:
            if (market, code) not in _ELSEWHERE:
                found.append(await _answered(code, title, question, subject))
        found += gaps(client.profile, market)
        found.append(_rate(installation, subject))
        return found
    finally:
        await client.close()


def _is_traded(installation: Installation, env: Env, market: Market) -> bool:
    try:
        with bootstrap.account_held(installation.home, env, market):
            return False
    except SessionBusyError:
        return True


Question = Callable[[_Subject], Awaitable[Finding]]


async def _answered(code: str, title: str, question: Question, subject: _Subject) -> Finding:
    try:
        return await question(subject)
    except BrokerError as error:
        known = codes.lookup(error.code)
        action = known.action if error.code else "네트워크와 config/kis.yaml의 주소를 확인하십시오"
        return finding(code, "error", f"{title} 실패: {error}", f"{action}.")
    except TradingError as error:
        return finding(
            code, "error", f"{title} 실패: {error}", "로그와 함께 개발자에게 알리십시오."
        )


async def _token(subject: _Subject) -> Finding:
    await subject.client.quote(subject.instrument.symbol)
    return finding("KIS_TOKEN", "ok", "접근토큰을 받았고 현재가가 옵니다.")


async def _balance(subject: _Subject) -> Finding:
    account = await subject.client.account()
    return finding("KIS_BALANCE", "ok", f"잔고 조회: 보유 {len(account.positions):,}종목")


async def _power(subject: _Subject) -> Finding:
    limit = subject.market.currency.minor_per_unit
    await subject.client.buying_power(subject.instrument.symbol, limit)
    return finding("KIS_BUYING_POWER", "ok", "매수 가능 금액 조회가 됩니다.")


async def _orders(subject: _Subject) -> Finding:
    listed = await subject.client.orders(subject.today)
    return finding("KIS_ORDERS", "ok", f"주문·체결 조회: 오늘 {len(listed):,}건")


async def _routes(subject: _Subject) -> Finding:
    """Whether the listing tells of orders that went to NXT and by SOR."""
    fields = domestic_orders.orders_request(
        subject.account, subject.today, subject.today, Page(), routes=domestic_orders.ALL_ROUTES
    )
    try:
        await subject.ask(at.KRX_ORDERS, fields)
    except BrokerError as error:
        if not error.code:
            raise
        return finding(
            "KIS_ROUTES", "info", f"주문·체결 조회가 KRX 주문만 보여 줍니다 [{error.code}].",
            "NXT와 SOR로 낸 주문은 HTS에서 확인하십시오.",
        )  # fmt: skip
    if subject.client.profile is Profile.PAPER:
        return finding("KIS_ROUTES", "info", "모의투자 주문은 KRX로만 나가며 모두 조회됩니다.")
    return finding("KIS_ROUTES", "ok", "주문·체결 조회가 KRX, NXT, SOR 주문을 모두 보여 줍니다.")


async def _whole_us(subject: _Subject) -> Finding:
    """Whether a balance of Nasdaq holds the shares of the other US exchanges too."""
    symbols = {}
    for exchange in (Exchange.NASDAQ, Exchange.NYSE, Exchange.AMEX):
        fields = overseas_account.balance_request(subject.account, Page(), exchange)
        rows = overseas_account.parse_holdings(await subject.ask(at.US_BALANCE, fields))
        symbols[exchange] = {row.symbol for row in rows}
    elsewhere = symbols[Exchange.NYSE] | symbols[Exchange.AMEX]
    name = TRADE_CODES[Exchange.NASDAQ]
    is_paper = subject.client.profile is Profile.PAPER
    if not elsewhere:
        return finding(
            "KIS_WHOLE_US", "info", f"나스닥 밖의 보유가 없어 {name} 잔고의 뜻을 확인하지 못했습니다.",
            f"{'모의투자는 나스닥만으로' if is_paper else '실전투자는 미국 전체로'} 알고 조회합니다.",
        )  # fmt: skip
    if elsewhere <= symbols[Exchange.NASDAQ]:
        return finding("KIS_WHOLE_US", "ok", f"{name} 잔고가 미국 전체를 보여 줍니다.")
    if is_paper:
        return finding(
            "KIS_WHOLE_US", "ok", f"{name} 잔고는 나스닥만이라 거래소마다 조회해 한 번씩만 셉니다."
        )
    return finding(
        "KIS_WHOLE_US", "error", f"{name} 잔고에 다른 거래소의 보유가 빠져 있습니다.",
        "거래를 멈추고 로그와 함께 개발자에게 알리십시오.",
    )  # fmt: skip


async def _margin(subject: _Subject) -> Finding:
    """Whether won and dollars stand for each other when an order is paid."""
    if not at.US_MARGINS.is_offered(subject.client.profile):
        return finding("KIS_MARGIN", "info", "모의투자에는 통합증거금 조회가 없습니다.")
    rows = await subject.client.overseas.margins()
    dollars = [row for row in rows if row.currency == Market.US.currency]
    integrated = [
        row
        for row in dollars
        if (row.integrated_buying_power or 0) > (row.general_buying_power or 0)
    ]
    if integrated:
        return finding(
            "KIS_MARGIN", "info", "통합증거금을 쓰는 계좌입니다: 원화로도 미국 주식을 살 수 있습니다.",
            "환전하지 않은 매수는 다음 날 자동 환전되어 환율이 달라질 수 있습니다.",
        )  # fmt: skip
    return finding("KIS_MARGIN", "ok", "달러 예수금만으로 주문하는 계좌입니다.")


async def _open_orders(subject: _Subject) -> Finding:
    if subject.market is Market.KRX:
        fields = domestic_orders.open_orders_request(subject.account, Page())
        return await _offered(subject, at.KRX_OPEN_ORDERS, "KIS_OPEN_ORDERS", fields)
    fields = overseas_orders.open_orders_request(subject.account, Page())
    return await _offered(subject, at.US_OPEN_ORDERS, "KIS_OPEN_ORDERS", fields)


async def _sellable(subject: _Subject) -> Finding:
    fields = domestic_account.sellable_request(subject.account, subject.instrument.symbol)
    return await _offered(subject, at.KRX_SELLABLE, "KIS_SELLABLE", fields)


async def _holidays(subject: _Subject) -> Finding:
    if at.KRX_HOLIDAYS.is_offered(subject.client.profile):
        # KIS asks for one such call a day, and keeps the answer for the session.
        days = subject.client.holidays(subject.today)
        differing = _calendar_differences(subject, days)
        if differing:
            return finding(
                "KIS_CALENDAR", "error", f"증권사와 달력이 다릅니다: {', '.join(differing)}",
                "거래소 공지를 확인해 config/markets/krx.yaml의 calendar_overrides에 적으십시오.",
            )  # fmt: skip
        title = at.KRX_HOLIDAYS.title
        return finding("KIS_HOLIDAYS", "ok", f"{title} 조회: {len(days):,}일, 달력과 같습니다.")
    fields = domestic_company.holidays_request(subject.today, Page())
    return await _offered(subject, at.KRX_HOLIDAYS, "KIS_HOLIDAYS", fields)


def _calendar_differences(subject: _Subject, days: Sequence[HolidayRow]) -> list[str]:
    """Return a phrase a day on which the venue and our calendar disagree."""
    calendar = SessionCalendar(subject.market, subject.rules, around=subject.today)
    known = [row for row in days if abs(row.day - subject.today) <= timedelta(days=28)]
    return [
        f"{row.day} 증권사는 {'개장' if row.is_open else '휴장'}"
        for row in known
        if row.is_open != calendar.is_session(row.day)
    ]


async def _offered(
    subject: _Subject, endpoint: Endpoint, code: str, fields: Mapping[str, str]
) -> Finding:
    """Ask for a call, also where the program believes that the account lacks it."""
    is_believed = endpoint.is_offered(subject.client.profile)
    asked = endpoint if is_believed else replace(endpoint, paper=_paper_ids(endpoint))
    try:
        await subject.ask(asked, fields)
    except BrokerError as error:
        if is_believed or not error.code:
            raise
        instead = f"프로그램이 대신함: {endpoint.instead}." if endpoint.instead else ""
        cause = f"모의투자에 없는 기능: {endpoint.title} [{error.code}]"
        return finding(code, "info", cause, instead)
    if is_believed:
        return finding(code, "ok", f"{endpoint.title} 조회가 됩니다.")
    return finding(code, "info", f"모의투자에 없다고 알려진 기능이 답했습니다: {endpoint.title}")


def _paper_ids(endpoint: Endpoint) -> dict[str, str]:
    # PROTOCOL 1: the rule by which KIS's own sample makes a paper id of a real one.
    return {
        variant: f"V{tr_id[1:]}" if tr_id[0] in "TJC" else tr_id
        for variant, tr_id in endpoint.real.items()
    }


async def _stream(subject: _Subject) -> Finding:
    if subject.is_traded:
        return finding(
            "KIS_STREAM", "info", "지금 이 계좌로 거래하는 실행이 있어 실시간 접속은 시험하지 않았습니다."
        )  # fmt: skip
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            await subject.client.subscribe([])
    except TimeoutError:
        raise BrokerError(f"실시간 접속이 {STREAM_SECONDS:.0f}초 안에 되지 않음") from None
    return finding("KIS_STREAM", "ok", "실시간에 접속해 체결 통보를 등록했습니다.")


def gaps(profile: Profile, market: Market) -> list[Finding]:
    """Return what accounts of ``profile`` lack in ``market``; no account is asked."""
    lacking = [
        endpoint.title for endpoint in at.lacking(profile) if endpoint.name.startswith(f"{market}_")
    ]
    if not lacking:
        return []
    return [
        finding(
            "KIS_LACKS", "info", f"모의투자에 없는 기능 {len(lacking)}가지: {', '.join(lacking)}",
            "대신하는 것은 docs/codes.md의 표에 있습니다.",
        )
    ]  # fmt: skip


def _rate(installation: Installation, subject: _Subject) -> Finding:
    limit, reserve = installation.settings.kis.budget(subject.client.profile)
    refused = subject.client.transport.rate_refusals
    if refused:
        return finding(
            "KIS_RATE", "error", f"초당 {limit}건으로 부르는데 한도 초과가 {refused:,}번 왔습니다.",
            "config/kis.yaml의 calls_per_second를 낮추고, 신청한 지 사흘이 안 됐으면 new_customer를 "
            "true로 두고, 같은 앱키를 쓰는 다른 프로그램을 끄십시오.",
        )  # fmt: skip
    return finding(
        "KIS_RATE", "ok", f"초당 {limit}건(취소 몫 {reserve}건)의 설정으로 한도 초과가 없었습니다."
    )


_QUESTIONS: tuple[tuple[str, str, Question], ...] = (
    ("KIS_BALANCE", "잔고 조회", _balance),
    ("KIS_BUYING_POWER", "매수 가능 금액 조회", _power),
    ("KIS_ORDERS", "주문·체결 조회", _orders),
    ("KIS_ROUTES", "주문·체결 조회 범위", _routes),
    ("KIS_WHOLE_US", "미국 잔고의 범위", _whole_us),
    ("KIS_MARGIN", "통합증거금 조회", _margin),
    ("KIS_OPEN_ORDERS", "미체결 조회", _open_orders),
    ("KIS_SELLABLE", "매도 가능 수량 조회", _sellable),
    ("KIS_HOLIDAYS", "휴장일 조회", _holidays),
    ("KIS_STREAM", "실시간 접속", _stream),
)
# Questions that only the other market has.
_ELSEWHERE = frozenset(
    {
        (Market.US, "KIS_ROUTES"),
        (Market.US, "KIS_SELLABLE"),
        (Market.US, "KIS_HOLIDAYS"),
        (Market.KRX, "KIS_WHOLE_US"),
        (Market.KRX, "KIS_MARGIN"),
    }
)
