import pytest

from trading.domain.actions import ActionKind
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Currency, Market
from trading.domain.order import OrderStatus, Side
from trading.domain.wording import (
    ACTION_TEXT,
    GUARD_TEXT,
    MARKET_TEXT,
    SIDE_TEXT,
    STATE_TEXT,
    STATUS_TEXT,
    VERDICT_TEXT,
    boundary_text,
    money_text,
    percent_text,
    reason_text,
)
from trading.risk.guards import GuardCode


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (VERDICT_TEXT, Verdict),
        (STATE_TEXT, TradingState),
        (STATUS_TEXT, OrderStatus),
        (SIDE_TEXT, Side),
        (MARKET_TEXT, Market),
        (ACTION_TEXT, ActionKind),
        (GUARD_TEXT, GuardCode),
    ],
)
def test_every_code_has_korean_words(table, values):
    """No code reaches a user without words, and no two codes read the same."""
    assert set(table) == set(values)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1_234_500, Currency.KRW, "1,234,500원"),
        (0, Currency.KRW, "0원"),
        (0, Currency.USD, "$0.00"),
        (12_345_600, Currency.USD, "$1,234.56"),
        (-12_345_600, Currency.USD, "-$1,234.56"),
        (12_345_678, Currency.USD, "$1,234.5678"),
        (1, Currency.USD, "$0.0001"),
    ],
)
def test_money_loses_no_unit(minor, currency, text):
    """A difference of one minor unit is visible."""
    assert money_text(minor, currency) == text


def test_percent_and_reason():
    """Fractions read as per cent; unknown is said, not shown as zero."""
    assert percent_text(0.008) == "+0.80 %"
    assert percent_text(-0.1, digits=1) == "-10.0 %"
    assert percent_text(0.25, signed=False) == "25.00 %"
    assert percent_text(None) == "기록 없음"
    assert percent_text(float("nan")) == "기록 없음"
    assert reason_text("stop_loss") == "손절"
    assert reason_text("manual") == "손으로 낸 주문"
    assert reason_text("EGW00001") == "EGW00001"
    assert reason_text("GUARD_REDUCING") == GUARD_TEXT["GUARD_REDUCING"]
    assert boundary_text("open") == "개장"
    assert boundary_text("10:30") == "10:30"
