"""Why the venue refuses an order, and with which KIS code it says so."""

from enum import StrEnum
from typing import Any

from trading.wire import codes
from trading.wire.endpoints import Profile

GENERIC = "APBK0918"
PAPER_PREFIX = "모의투자 "


class Reason(StrEnum):
    """A business refusal; the value is the text of the real server where KIS has no own code."""

    NOT_A_SESSION = "장운영일자가 주문일과 상이합니다"
    NOT_OPEN_YET = "장 시작 전입니다"
    CLOSED = "장운영시간이 아닙니다"
    UNKNOWN_SYMBOL = "해당종목정보가 없습니다"
    NOT_TRADABLE = "이 재생에서는 매매할 수 없는 종목입니다"
    ORDER_KIND = "이 거래소가 받지 않는 주문구분입니다"
    ROUTE = "모의투자가 받지 않는 거래소입니다"
    NO_BOOK = "기록된 호가가 없어 받을 수 없는 주문구분입니다"
    CALL_AUCTION = "단일가 매매시간에 받지 않는 주문구분입니다"
    UNKNOWN_ORDER = "원주문번호, 조직번호 또는 거래소구분이 맞지 않습니다"
    RESERVATION_HOURS = "예약주문 접수시간이 아닙니다"
    NO_RESERVATION = "취소할 예약주문이 없습니다"
    QUANTITY = "주문수량을 확인하십시오"
    LOT = "매매수량단위에 맞지 않는 주문입니다"
    TICK = "호가단위에 맞지 않는 가격입니다"
    PRICE_LIMIT = "가격제한폭을 벗어난 가격입니다"
    NO_CASH = "주문가능금액을 초과 했습니다"
    NO_SHARES = "주문가능수량을 초과 했습니다"
    NOTHING_LEFT = "정정/취소할 수량이 없습니다"


_REAL = {
    Reason.NOT_A_SESSION: ("7", "APBK0919"),
    Reason.UNKNOWN_SYMBOL: ("7", "APBK0656"),
    Reason.NO_CASH: ("7", "APBK0952"),
    Reason.NO_SHARES: ("7", "APBK0400"),
    Reason.RESERVATION_HOURS: ("1", "KIER3672"),
}
_PAPER = {
    Reason.NOT_A_SESSION: "40100000",
    Reason.NOT_OPEN_YET: "40570000",
    Reason.CLOSED: "40580000",
    Reason.UNKNOWN_SYMBOL: "40070000",
    Reason.NOT_TRADABLE: "40070000",
    Reason.TICK: "40030000",
    Reason.ORDER_KIND: "90000000",
    Reason.ROUTE: "90000000",
    Reason.NO_CASH: "40250000",
    Reason.NOTHING_LEFT: "40330000",
}


class OrderRefused(Exception):  # noqa: N818 -- an answer of the venue, not a fault
    """The venue's definitive no to an order or a change of one."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason

    def body(self, profile: Profile) -> dict[str, Any]:
        """Return the answer that KIS would give; its code, and our text where it has none."""
        if profile is Profile.PAPER:
            code = _PAPER.get(self.reason, GENERIC)
            text = codes.lookup(code).text if code != GENERIC else f"{PAPER_PREFIX}{self}"
            return codes.refusal(code, text)
        rt_cd, code = _REAL.get(self.reason, ("1", GENERIC))
        text = "" if code != GENERIC and codes.lookup(code).text else str(self)
        return codes.refusal(code, text, rt_cd=rt_cd)
