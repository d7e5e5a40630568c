"""Prices of a session's orders, and the settings they come from."""

import numpy as np
import pytest
from pydantic import ValidationError

from trading.domain.instrument import Market
from trading.execution.orders import ExecutionSettings, OrderSettings, limit_prices
from trading.strategies.base import ExitRules

KRX = OrderSettings(
    entry_band=0.02, exit_band=0.03, stop_collar=0.02, participation=0.1, preopen_minutes=20
)
US = KRX.model_copy(update={"preopen_minutes": 5})
OFF = {"stop_loss": None, "trailing_stop": None, "take_profit": None, "cooldown_sessions": 0}


def test_limit_prices():
    """Each instrument on its own ladder and limits; none without a reference price."""
    ladders = np.array([[[0, 5], [1_000, 10]], [[0, 1], [0, 1]]], dtype=np.int64)

    prices = limit_prices(
        np.array([990, 990, 0, 990]),
        0.10,
        1,
        ladders,
        np.array([0, 1, 0, 1]),
        np.array([0, 0, 0, 900]),
        np.array([0, 0, 0, 1_050]),
    )

    assert list(prices) == [1_080, 1_089, 0, 1_050]


def test_each_market_has_its_policy():
    """The exits are shared, the bands are not."""
    settings = ExecutionSettings(krx=KRX, us=US, exits=ExitRules(**OFF))

    assert settings.for_market(Market.KRX) is KRX
    assert settings.for_market(Market.US) is US


@pytest.mark.parametrize("wrong", [{"stop_loss": 0.0}, {"stop_loss": 1.0}, {"stoploss": 0.1}])
def test_wrong_settings(wrong):
    """A stop of nothing or of everything, or a key that there is not, stops the start."""
    with pytest.raises(ValidationError):
        ExitRules(**{**OFF, **wrong})
