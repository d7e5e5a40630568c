"""An exchange whose clock cannot go on says so and ends, rather than stand still and serve."""

import asyncio
import sqlite3
from datetime import date

import pytest

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import UsageError
from trading.exchange.journal import Fact, Journal
from trading.exchange.server import ExchangeOptions, ExchangeServer
from trading.sessions import SessionCalendar


class FillingDisk(Journal):
    """Has room for the morning only."""

    def commit(self, *facts: Fact) -> None:
        if any(fact.kind == "venue" and fact.body["phase"] == "open" for fact in facts):
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(*facts)


async def _run(source, tmp_path, start):
    rules = shipped_rules(Market.US)
    server = ExchangeServer(
        source, rules, SessionCalendar(Market.US, rules),
        ExchangeOptions(
            market=Market.US, directory=tmp_path, starting_cash=1_000_000_000,
            participation_bps=1, speed=100_000.0, start=start,
        ),
        journal=FillingDisk(tmp_path / "journal.db"),
    )  # fmt: skip
    async with asyncio.timeout(20):
        await server.run()


async def test_a_disk_that_fills_up_while_time_passes(source, tmp_path, capsys):
    """Memory is ahead of the disk: only a restart makes them one again."""
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await _run(source, tmp_path, date(2005, 5, 27))

    assert not (tmp_path / "port.json").exists()
    assert "거래소의 시간이 멈춰 종료" in capsys.readouterr().err


async def test_a_start_that_was_not_recorded(source, tmp_path):
    """A first session without records is an error, not an exchange without time."""
    with pytest.raises(UsageError, match="기록된 시세가 없어"):
        await _run(source, tmp_path, date(2000, 1, 5))

    assert not (tmp_path / "port.json").exists()
