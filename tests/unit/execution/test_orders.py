"""Prices of a session's orders, and the settings they come from."""

import pytest
from pydantic import ValidationError

from trading.domain.instrument import Market
from trading.execution.orders import ExecutionSettings, OrderSettings
from trading.strategies.base import ExitRules

KRX = OrderSettings(
    entry_band=0.02, exit_band=0.03, stop_collar=0.02, participation=0.1, preopen_minutes=20
)
US = KRX.model_copy(update={"preopen_minutes": 5})
OFF = {"stop_loss": None, "trailing_stop": None, "take_profit": None, "cooldown_sessions": 0}


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
