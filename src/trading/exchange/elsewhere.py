"""The market that a venue does not replay, as an account sees it that never traded there.

KIS clients ask both markets for what is one account to them: they hear that nothing is there, and
an order is refused as in a market that is closed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from trading.domain.instrument import Market
from trading.exchange.desk import Answer, Call, Desk
from trading.exchange.refusals import OrderRefused, Reason
from trading.wire import (
    domestic_account,
    domestic_orders,
    overseas_account,
    overseas_orders,
    values,
)
from trading.wire.accounts import parse_account, render_page
from trading.wire.domestic_account import ProfitSums
from trading.wire.domestic_keys import whole_row
from trading.wire.records import Balance, BuyingPower, Page

_NOTHING = Balance(cash=0, cash_next=0, cash_final=0)
_NO_POWER = BuyingPower(amount=0, quantity=0, price=0)
_NO_SUMS = ProfitSums(**dict.fromkeys(ProfitSums.__slots__, 0))
_NO_KOREAN_PROFIT = {"output1": [], "output2": whole_row(_NO_SUMS)}
_BODIES: Mapping[Market, Mapping[str, Mapping[str, Any]]] = {
    Market.KRX: {
        "krx_open_orders": domestic_orders.render_open_orders([], {}),
        "krx_orders": domestic_orders.render_orders([], {}, total=[], costs=0),
        "krx_balance": domestic_account.render_balance(_NOTHING),
        "krx_buying_power": domestic_account.render_buying_power(_NO_POWER),
        "krx_period_profit": _NO_KOREAN_PROFIT,
        "krx_trade_profit": _NO_KOREAN_PROFIT,
    },
    Market.US: {
        "us_open_orders": overseas_orders.render_open_orders([], {}),
        "us_orders": overseas_orders.render_orders([], {}),
        "us_balance": overseas_account.render_holdings("", []),
        "us_present_balance": overseas_account.render_present_balance(
            _NOTHING, unsettled_bought=0, unsettled_sold=0
        ),
        "us_buying_power": overseas_account.render_buying_power(_NO_POWER),
        "us_margins": overseas_account.render_margins([]),
        "us_period_profit": overseas_account.render_period_profit([], None),
    },
}
_ORDERS = {
    Market.KRX: ("krx_order", "krx_change"),
    Market.US: ("us_order", "us_change", "us_daytime_order", "us_daytime_change"),
}


class Elsewhere(Desk):
    """The account calls of the other market."""

    @property
    def services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        other = Market.US if self.venue.market is Market.KRX else Market.KRX
        return {
            **dict.fromkeys(_BODIES[other], self._nothing),
            **dict.fromkeys(_ORDERS[other], self._closed),
        }

    def _nothing(self, call: Call) -> Answer:
        self.account(call, parse_account(values.upper_keys(call.params)))
        name, context = call.endpoint.name, call.endpoint.context
        bodies = next(bodies for bodies in _BODIES.values() if name in bodies)
        if not call.endpoint.page_size(self.profile):
            return self.answer("found", bodies[name])
        body = {**bodies[name], **render_page(Page(), context)}
        return self.paged(body, has_next=False, is_empty=True)

    def _closed(self, call: Call) -> Answer:
        self.account(call, parse_account(values.upper_keys(call.params)))
        raise OrderRefused(Reason.CLOSED)
