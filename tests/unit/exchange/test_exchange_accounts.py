"""Money of an account by the day on which it is paid."""

from datetime import UTC, date, datetime

from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.domain.rules import as_array, shipped_rules
from trading.exchange.accounts import StandingOrder, TradingAccount
from trading.simulation.matching import Execution
from trading.wire.records import OrderKind

TRADED, PAID = date(2024, 6, 3), date(2024, 6, 4)


def _sale(quantity, price):
    return StandingOrder(
        order_id=1, account="1234567801", session=TRADED,
        ts=datetime(2024, 6, 3, 15, tzinfo=UTC), kind=OrderKind.NEW, symbol="AAPL",
        exchange=Exchange.NASDAQ, side=Side.SELL, quantity=quantity, limit=price, bound=price,
        ceiling=price,
    )  # fmt: skip


def test_a_sale_that_costs_more_than_it_brings_is_owed():
    """One share at 0.5 cents: the two fees of a cent each leave 1.5 cents to pay, tomorrow."""
    account = TradingAccount("1234567801", "key", Market.US, 1_000_000)
    account.book.adjust(symbol="AAPL", quantity=1, price=50)
    fees = as_array(shipped_rules(Market.US).fees(Exchange.NASDAQ, TRADED, PAID))
    order = _sale(1, 50)

    account.fill(
        order,
        Execution(order_id=order.number, symbol="AAPL", side=Side.SELL, quantity=1, price=50),
        fees,
        PAID,
    )

    assert order.commission + order.tax == 200
    assert account.book.cash == 1_000_000 - 150
    assert account.cash_on(TRADED) == 1_000_000
    assert account.unsettled(TRADED) == (0, -150)
