"""The order type codes of KIS (``ORD_DVSN``, PROTOCOL 9.1 and 10.1), and who takes them."""

from collections.abc import Mapping

from trading.domain.order import OrderType, Route, Side

_T = OrderType

DOMESTIC: Mapping[OrderType, str] = {
    _T.LIMIT: "00",
    _T.MARKET: "01",
    _T.CONDITIONAL_LIMIT: "02",
    _T.BEST: "03",
    _T.PRIORITY: "04",
    _T.PRE_HOURS_CLOSE: "05",
    _T.AFTER_HOURS_CLOSE: "06",
    _T.AFTER_HOURS_SINGLE: "07",
    _T.LIMIT_IOC: "11",
    _T.LIMIT_FOK: "12",
    _T.MARKET_IOC: "13",
    _T.MARKET_FOK: "14",
    _T.BEST_IOC: "15",
    _T.BEST_FOK: "16",
    _T.MID: "21",
    _T.STOP_LIMIT: "22",
    _T.MID_IOC: "23",
    _T.MID_FOK: "24",
    _T.NXT_PRE_LIMIT: "27",
    _T.AFTER_MARKET_LIMIT: "41",
    _T.AFTER_MARKET_LIMIT_IOC: "42",
    _T.AFTER_MARKET_LIMIT_FOK: "43",
    _T.AFTER_MARKET_BEST: "44",
    _T.AFTER_MARKET_BEST_IOC: "45",
    _T.AFTER_MARKET_BEST_FOK: "46",
    _T.AFTER_MARKET_PRIORITY: "47",
}
OVERSEAS: Mapping[OrderType, str] = {
    _T.LIMIT: "00",
    _T.MARKET_ON_OPEN: "31",
    _T.LIMIT_ON_OPEN: "32",
    _T.MARKET_ON_CLOSE: "33",
    _T.LIMIT_ON_CLOSE: "34",
    _T.TWAP: "35",
    _T.VWAP: "36",
}
DOMESTIC_TYPES: Mapping[str, OrderType] = {code: kind for kind, code in DOMESTIC.items()}
OVERSEAS_TYPES: Mapping[str, OrderType] = {code: kind for kind, code in OVERSEAS.items()}

_EVERYWHERE = frozenset(
    {
        _T.LIMIT,
        _T.BEST,
        _T.PRIORITY,
        _T.LIMIT_IOC,
        _T.LIMIT_FOK,
        _T.MARKET_IOC,
        _T.MARKET_FOK,
        _T.BEST_IOC,
        _T.BEST_FOK,
    }
)
_OF_ROUTE: Mapping[Route, frozenset[OrderType]] = {
    Route.KRX: frozenset(DOMESTIC) - {_T.NXT_PRE_LIMIT},
    Route.NXT: _EVERYWHERE | {_T.MID, _T.MID_IOC, _T.MID_FOK, _T.STOP_LIMIT, _T.NXT_PRE_LIMIT},
    Route.SOR: _EVERYWHERE | {_T.MARKET},
}
_US_SELLS_ONLY = frozenset({_T.MARKET_ON_OPEN, _T.MARKET_ON_CLOSE})


def takes_domestic(route: Route, order_type: OrderType) -> bool:
    """Whether orders of this type may go to ``route``."""
    return order_type in _OF_ROUTE[route]


def takes_overseas(side: Side, order_type: OrderType) -> bool:
    """Whether a US order of this side may be of this type."""
    return order_type in OVERSEAS and (side is Side.SELL or order_type not in _US_SELLS_ONLY)
