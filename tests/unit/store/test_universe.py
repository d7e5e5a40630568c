"""What the configuration knows of instruments."""

from pathlib import Path

import pytest

from trading.domain.instrument import Exchange, Market
from trading.errors import ConfigError
from trading.store.universe import read_universe, shipped_universe


def test_shipped_facts():
    """The five embedded stocks have an exchange, a name and a sector."""
    universe = shipped_universe()

    assert universe.exchange("IBM") is Exchange.NYSE
    for symbol in ("AAPL", "FB", "GOOG", "MSFT"):
        assert universe.exchange(symbol) is Exchange.NASDAQ
        assert universe.instruments[symbol].sector
    assert universe.exchanges[Market.KRX] == (Exchange.KOSPI, Exchange.KOSDAQ)
    with pytest.raises(ConfigError, match="거래소를 알 수 없음"):
        universe.exchange("NONE")


def test_wrong_file_is_named(tmp_path: Path):
    """A missing file, an unknown key and a wrong exchange are configuration errors."""
    path = tmp_path / "universe.yaml"

    with pytest.raises(ConfigError, match="설정 파일이 없음"):
        read_universe(path)
    path.write_text("exchanges: {us: [NYSE]}\nbenchmark: {us: x}\nextra: 1\n")
    with pytest.raises(ConfigError, match="extra"):
        read_universe(path)
    path.write_text("exchanges: {us: [MOON]}\nbenchmark: {us: x}\n")
    with pytest.raises(ConfigError, match="exchanges"):
        read_universe(path)
