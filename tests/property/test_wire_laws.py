"""The wire loses nothing: what one side writes the other reads back, whatever the values."""

import string
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.order import OrderAck, Side, VenueOrder
from trading.wire import (
    accounts,
    auth,
    domestic_account,
    domestic_bars,
    domestic_company,
    domestic_orders,
    overseas_account,
    overseas_bars,
    overseas_lists,
    overseas_orders,
    stream,
    values,
)
from trading.wire.domestic_bars import Period
from trading.wire.records import (
    ChangeRequest,
    DailyRow,
    ListedOrder,
    MinuteRow,
    Notice,
    OrderKind,
    OrderRequest,
    Page,
)

minor = st.integers(0, 10**12)
shares = st.integers(0, 10**9)
sides = st.sampled_from(Side)
digits = st.text("0123456789", min_size=10, max_size=10)
numbers = digits.filter(lambda text: int(text) > 0)
us_exchanges = st.sampled_from((Exchange.NASDAQ, Exchange.NYSE, Exchange.AMEX))
symbols = st.text(string.ascii_uppercase, min_size=1, max_size=5)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ)
NAMES = {"AAPL": APPLE}


@given(amount=st.integers(-(10**15), 10**15), market=st.sampled_from(Market))
def test_money_is_exact(amount, market):
    """Minor units become text and come back the same."""
    assert values.to_minor(values.from_minor(amount, market), market) == amount


@given(moment=moments, drift=st.integers(-11 * 3600, 11 * 3600))
def test_a_time_without_a_date_finds_its_day(moment, drift):
    """A Korean time is dated right however early or late it arrives within eleven hours."""
    received = moment + timedelta(seconds=drift)

    assert values.nearest_instant(values.korean_time(moment), received) == moment


@given(account=digits, symbol=symbols, side=sides, quantity=shares, limit=minor,
       exchange=us_exchanges)  # fmt: skip
def test_orders_round_trip(account, symbol, side, quantity, limit, exchange):
    """An order means the same at both ends, in both markets."""
    korean = OrderRequest(account=account, symbol=symbol, side=side, quantity=quantity, limit=limit)
    american = replace(korean, exchange=exchange)

    assert (
        domestic_orders.parse_order_request(domestic_orders.order_request(korean), side) == korean
    )
    assert (
        overseas_orders.parse_order_request(overseas_orders.order_request(american), side)
        == american
    )


@given(account=digits, original=numbers, quantity=shares, exchange=us_exchanges)
def test_cancels_round_trip(account, original, quantity, exchange):
    """A cancel names the same order and quantity at both ends."""
    original = values.order_number(original)
    korean = ChangeRequest(
        account=account, original_order_id=original, quantity=quantity, limit=0, branch="06010"
    )
    american = replace(korean, branch="", symbol="AAPL", exchange=exchange)

    assert domestic_orders.parse_change_request(domestic_orders.change_request(korean)) == korean
    assert (
        overseas_orders.parse_change_request(overseas_orders.change_request(american)) == american
    )


@given(number=numbers, moment=moments)
def test_acks_round_trip(number, moment):
    """An acknowledgement keeps number, branch and second."""
    ack = OrderAck(venue_order_id=values.order_number(number), branch="06010", ts_event=moment)

    assert accounts.parse_ack(accounts.render_ack(ack), moment) == ack


@given(data=st.data(), moment=moments, market=st.sampled_from(Market))
def test_listed_orders_round_trip(data, moment, market):
    """Quantities and the exact filled amount survive, however an order was split up."""
    filled, canceled, left = (data.draw(st.integers(0, 10**6)) for _ in range(3))
    order = VenueOrder(
        venue_order_id=values.order_number(data.draw(numbers)),
        branch="06010",
        symbol="AAPL",
        side=data.draw(sides),
        quantity=filled + canceled + left,
        limit=data.draw(minor),
        filled_quantity=filled,
        filled_amount=data.draw(minor),
        canceled_quantity=canceled,
        rejected_quantity=0,
        ts_event=moment,
    )
    wire = domestic_orders if market is Market.KRX else overseas_orders

    (listed,) = wire.parse_orders(wire.render_orders([ListedOrder(order=order)], NAMES))

    assert listed.order == order


@given(prices=st.tuples(minor, minor, minor, minor), volume=shares, moment=moments)
def test_bars_round_trip(prices, volume, moment):
    """Daily and minute bars keep every price; US minutes keep the instant over DST."""
    first, high, low, close = prices
    day = DailyRow(
        session=moment.date(), open=first, high=high, low=low, close=close, volume=volume
    )
    start = moment.replace(second=0)
    minute = MinuteRow(start=start, open=first, high=high, low=low, close=close, volume=volume)

    assert overseas_bars.parse_daily(overseas_bars.render_daily([day], APPLE)) == (day,)
    # The clocks change in the night from Saturday to Sunday, when no market is open.
    if start.weekday() < 5:
        body = overseas_bars.render_minute(
            [minute], APPLE, opens=start, closes=start, has_more=False
        )
        assert overseas_bars.parse_minute(body) == (minute,)


@given(price=st.integers(1, 10**9), volume=st.integers(1, 10**8), more=shares, moment=moments,
       market=st.sampled_from(Market), count=st.integers(1, 5))  # fmt: skip
def test_trades_round_trip(price, volume, more, moment, market, count):
    """Trades keep price, volumes and second, alone or several in a frame."""
    if moment.weekday() > 4:
        moment -= timedelta(days=2)
    cumulative = volume + more
    trade = stream.Print(
        symbol="AAPL", ts=moment, price=price, volume=volume, cumulative_volume=cumulative,
        value=price * cumulative, open=price, high=price, low=price, previous_close=price,
    )  # fmt: skip
    tr_id = stream.TRADE_TR[market]
    record = stream.render_trade(market, trade, APPLE)

    frame = stream.parse_frame(stream.frame_message(tr_id, [record] * count))
    records = stream.records_of(frame.tr_id, frame.count, frame.payload)
    ticks = [stream.parse_trade(tr_id, fields, moment) for fields in records]

    assert [len(fields) for fields in records] == [stream.FIELD_COUNTS[tr_id]] * count
    assert {(tick.symbol, tick.price, tick.volume, tick.cumulative_volume, tick.ts_event,
             tick.auction) for tick in ticks} == {
        ("AAPL", price, volume, cumulative, moment, more == 0)
    }  # fmt: skip


@given(data=st.data(), market=st.sampled_from(Market), is_fill=st.booleans(),
       appended=st.integers(0, 3))  # fmt: skip
def test_notices_round_trip(data, market, is_fill, appended):
    """Notices survive encryption and fields that KIS may append one day."""
    quantity, price = data.draw(st.integers(1, 10**8)), data.draw(st.integers(1, 10**8))
    notice = Notice(
        account=data.draw(digits),
        order_id=values.order_number(data.draw(numbers)),
        original_order_id="",
        side=data.draw(sides),
        kind=data.draw(st.sampled_from(OrderKind)),
        symbol="AAPL",
        quantity=quantity,
        price=price if is_fill else 0,
        time="093015",
        is_fill=is_fill,
        is_refused=data.draw(st.booleans()),
        acceptance="2",
        order_quantity=quantity + 5 if is_fill else quantity,
        limit=price if market is Market.KRX else 0,
        branch="06010",
        name="애플",
        customer="hts",
        exchange=None if market is Market.KRX else Exchange.NYSE,
    )
    tr_id = "H0STCNI0" if market is Market.KRX else "H0GSCNI0"
    iv, secret = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
    record = stream.render_notice(market, notice) + "^x" * appended

    text = stream.frame_message(tr_id, [record], iv=iv, secret=secret)
    frame = stream.parse_frame(text)
    payload = stream.decrypt(frame.payload, iv=iv, secret=secret)
    (fields,) = stream.records_of(tr_id, frame.count, payload)

    assert frame.encrypted
    assert "애플" not in text
    assert stream.parse_notice(tr_id, fields) == notice


@given(key=st.text(min_size=1, max_size=20), is_on=st.booleans())
def test_registrations_round_trip(key, is_on):
    """A registration and its reply mean the same at both ends."""
    wish = stream.Registration(approval_key="a", is_on=is_on, tr_id="H0STCNT0", key=key)
    reply = stream.Reply(
        tr_id="H0STCNT0", key=key, ok=True, code="OPSP0000", text="SUBSCRIBE SUCCESS",
        encrypted=True, iv="0" * 16, secret="1" * 32,
    )  # fmt: skip

    assert stream.parse_client_message(stream.registration_message(wish)) == wish
    assert stream.parse_control(stream.reply_message(reply)) == reply


@given(moment=moments, value=st.text("abcdef0123456789", min_size=1))
def test_tokens_round_trip(moment, value):
    """A token keeps its end, which is written in Korean time."""
    token = auth.AccessToken(value=value, expires_at=moment)

    assert auth.parse_token(auth.render_token(token, moment - timedelta(hours=24))) == token


@given(fk=st.text(string.ascii_letters, max_size=20), width=st.sampled_from((20, 100, 200)))
def test_pages_round_trip(fk, width):
    """Paging keys come back to the venue as it gave them, padding aside."""
    page = Page(fk=fk, nk="1")
    returned = accounts.parse_page(accounts.render_page(page, width), width)

    assert len(returned.fk) == width
    assert accounts.parse_page_request(accounts.page_fields(returned, width), width) == page


@given(first=st.dates(date(2000, 1, 1), date(2030, 1, 1)), adjusted=st.booleans())
def test_queries_round_trip(first, adjusted):
    """Ranges, flags and accounts are read as they were asked."""
    last = first + timedelta(days=30)
    account = "1234567801"

    assert domestic_bars.parse_daily_request(
        domestic_bars.daily_request("005930", first, last, adjusted=adjusted)
    ) == ("005930", first, last, adjusted)
    assert overseas_bars.parse_daily_request(
        overseas_bars.daily_request(APPLE, last, adjusted=adjusted)
    ) == (
        Exchange.NASDAQ,
        "AAPL",
        last,
        adjusted,
        Period.DAY,
    )
    assert domestic_orders.parse_orders_request(
        domestic_orders.orders_request(account, first, last, Page())
    ) == (
        account,
        first,
        last,
        "00",
        False,
        Page(),
    )
    assert overseas_orders.parse_orders_request(
        overseas_orders.orders_request(account, first, last, Page(), everything_blank=adjusted)
    ) == (account, first, last, "00", Page())
    assert domestic_company.parse_holidays_request(
        domestic_company.holidays_request(first, Page())
    ) == (
        first,
        Page(),
    )
    assert overseas_lists.parse_settlement_request(
        overseas_lists.settlement_request(first, Page())
    ) == (
        first,
        Page(),
    )
    assert domestic_account.parse_balance_request(
        domestic_account.balance_request(account, Page())
    ) == (
        account,
        Page(),
    )
    assert overseas_account.parse_balance_request(
        overseas_account.balance_request(account, Page())
    ) == (
        account,
        "NASD",
        Page(),
    )
    assert overseas_account.parse_buying_power_request(
        overseas_account.buying_power_request(account, APPLE, 5)
    ) == (account, Exchange.NASDAQ, "AAPL", 5)
    assert domestic_account.parse_buying_power_request(
        domestic_account.buying_power_request(account, "005930", 5)
    ) == (account, "005930", 5)
