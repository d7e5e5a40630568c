"""How long a session may be silent before somebody stands in for it, and orders canceled without one."""

import asyncio
import json
import os
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date

import pytest
from small_venue import Day

from trading import bootstrap
from trading.config import Env
from trading.context import run_dir
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.order import Side
from trading.errors import DataError, TransientBrokerError
from trading.live import control
from trading.live.control import By, Cancellation, Scope
from trading.live.guardian import Silence, heartbeat_mark, is_succeeded, watch
from trading.live.journal import Journal, read_session
from trading.live.withdrawal import withdraw
from trading.store.lake import Lake
from trading.store.ledger import MemoryLedger
from trading.supervision import cancel_all, stand_in


class Life:
    """A heartbeat file and the time beside it: what happens at which second of the watch."""

    def __init__(self, folder):
        self.path = folder / "demo-us.json"
        self.now, self.plan, self.successors = 0.0, {}, []

    def beat(self, phase="open", pid=1):
        """Show life; each beat leaves a mark of its own."""
        body = {"pid": pid, "session": "2005-05-27", "phase": phase, "ts": str(self.now)}
        self.path.write_text(json.dumps(body))
        mark = round((self.now + 1) * 1e9)
        os.utime(self.path, ns=(mark, mark))

    def sleep(self, seconds):
        """Let time pass."""
        self.now += seconds
        for at in sorted(at for at in self.plan if at <= self.now):
            self.plan.pop(at)()

    def watch(self, *, after=0, is_succeeded=False):
        """Watch until there is something to do or nothing to guard."""

        def succeeded(pid):
            self.successors.append(pid)
            return is_succeeded

        return watch(
            self.path, after=after, seconds=10, is_succeeded=succeeded, sleep=self.sleep,
            elapsed=lambda: self.now,
        )  # fmt: skip


@pytest.fixture
def life(tmp_path):
    """A folder with no heartbeat yet."""
    return Life(tmp_path)


def test_a_session_that_ends_needs_nobody(life):
    """However long it took; ``closed`` ends the watch at once."""
    life.plan = {float(at): life.beat for at in range(1, 60, 9)}
    life.plan[64.0] = lambda: life.beat("closed")

    assert life.watch() is None
    assert life.now == pytest.approx(64.0, abs=1.0)


@pytest.mark.parametrize("phase", ["open", "stopped"])
def test_silence_is_told(life, phase):
    """From the last beat on, also of a session that an error ended."""
    life.plan = {1.0: life.beat, 5.0: lambda: life.beat(phase, pid=7)}

    found = life.watch()

    assert isinstance(found, Silence)
    assert (found.pid, found.phase, found.seconds) == (7, phase, pytest.approx(10, abs=1))
    assert life.now == pytest.approx(15, abs=1)


def test_a_restart_goes_on_with_the_same_watch(life):
    """Another process that beats before the deadline is guarded like the first."""
    life.plan = {1.0: life.beat, 9.0: lambda: life.beat(pid=2), 18.0: lambda: life.beat(pid=2)}

    found = life.watch()

    assert found is not None
    assert (found.pid, round(life.now)) == (2, 28)


def test_a_restart_on_its_way_gets_the_time_once_more(life):
    """It holds the account and does not beat yet; once, so that a hung one is found too."""
    life.plan = {1.0: life.beat}
    assert life.watch(is_succeeded=True) is not None
    assert (life.successors, round(life.now)) == ([1], 21)

    other = Life(life.path.parent)
    other.plan = {1.0: other.beat, 15.0: lambda: other.beat("closed", pid=2)}
    assert other.watch(is_succeeded=True) is None


def test_an_earlier_end_is_not_this_one(life):
    """The file of yesterday says closed; a session that never begins needs nobody either."""
    life.beat("closed")
    mark = heartbeat_mark(life.path)
    life.plan = {3.0: life.beat}
    assert life.watch(after=mark) is not None

    life.beat("closed")
    assert Life(life.path.parent).watch(after=heartbeat_mark(life.path)) is None


def test_a_home_that_is_gone_needs_nobody(tmp_path):
    """A folder that was removed ends the watch."""
    life = Life(tmp_path / "run")
    life.path.parent.mkdir()
    life.beat()
    life.plan = {3.0: lambda: (life.path.unlink(), life.path.parent.rmdir())}

    assert life.watch() is None
    assert life.now < 5


def test_half_a_beat_is_no_sign_of_life(life):
    """What is no heartbeat proves nothing."""
    life.plan = {1.0: life.beat, 6.0: lambda: life.path.write_text('{"pid": 3}')}

    found = life.watch()

    assert found is not None
    assert (found.pid, round(life.now)) == (1, 11)


def test_a_living_process_has_no_successor(tmp_path):
    """It may hang, and holds its lease: that is no restart."""
    assert not is_succeeded(tmp_path / "lease.lock", os.getpid())


# --- orders canceled where no session runs -----------------------------------------------------


@pytest.fixture
async def dead(traded, embedded_market):
    """A day whose session died with its orders open, at a venue that has them."""
    day = Day(traded, embedded_market, MemoryLedger())
    day.plan(35, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        await day.run()
    day.venue.plan.clear()
    day.venue.notices.clear()
    return day


async def _withdraw(day, scope=Scope.OURS):
    ledger, session = day.ledger, day.start.session
    return await withdraw(
        day.venue, Journal(ledger, session, day.venue.clock), read_session(ledger, session),
        scope=scope, exchanges=day.exchanges,
    )  # fmt: skip


async def test_what_is_canceled_is_written_first(dead):
    """Ours only; the restart finds them canceled and the books in order."""
    by_hand = dead.venue.place("FB", Side.BUY, 3, 100_000)

    done = await _withdraw(dead)

    assert len(done.canceled) == dead.count
    assert by_hand not in done.canceled
    assert set(dead.statuses().values()) == {"pending_cancel"}
    await dead.run()
    assert set(dead.statuses().values()) == {"canceled"}
    assert dead.agrees()


async def test_orders_by_hand_on_request(dead):
    """Of a share whose exchange is known; the others are named."""
    dead.exchanges["FB"] = dead.exchanges["AAPL"]
    known = dead.venue.place("FB", Side.BUY, 3, 100_000)
    strange = dead.venue.place("ZZZ", Side.BUY, 3, 100_000)

    done = await _withdraw(dead, Scope.EVERYTHING)

    assert known in done.canceled
    assert len(done.failed) == 1
    assert strange in done.failed[0]


async def test_an_order_whose_answer_was_lost_is_found(traded, embedded_market):
    """Killed between sending and the answer: one listing finds it without a doubt and it goes too."""
    day = Day(traded, embedded_market, MemoryLedger())

    async def die(intent):
        day.venue.place(intent.symbol, intent.side, intent.quantity, intent.limit)
        raise KeyboardInterrupt

    day.venue.submit = die
    with pytest.raises(KeyboardInterrupt):
        await day.run()

    done = await _withdraw(day)

    assert done == Cancellation(canceled=(day.venue.number_of(day.decision.intents[0].symbol),))
    assert set(day.statuses().values()) == {"pending_cancel"}


async def test_two_that_are_alike_are_left_alone(traded, embedded_market):
    """The same order by hand at the same time: nobody can tell, and that is said."""
    day = Day(traded, embedded_market, MemoryLedger())

    async def die(intent):
        for _ in range(2):
            day.venue.place(intent.symbol, intent.side, intent.quantity, intent.limit)
        raise KeyboardInterrupt

    day.venue.submit = die
    with pytest.raises(KeyboardInterrupt):
        await day.run()

    done = await _withdraw(day)

    assert done.canceled == ()
    assert len(done.failed) == 1
    assert day.venue.canceled == []


async def test_part_of_it_filled_meanwhile(dead):
    """Only what is left is canceled, and the restart books what was filled."""
    symbol = dead.decision.intents[0].symbol
    number = dead.venue.number_of(symbol)
    dead.venue.fill(number, 7, dead.intents[symbol].limit, told=False)

    done = await _withdraw(dead)

    assert number in done.canceled
    await dead.run()
    assert dead.engine.account.positions[symbol].quantity == 7
    assert dead.agrees()


async def test_what_the_venue_would_not_cancel_is_said(dead):
    """A refusal, and a venue that answers nothing at all."""
    dead.venue.cancel_fate = ["refused"]
    done = await _withdraw(dead)
    assert (len(done.canceled), len(done.failed)) == (dead.count - 1, 1)

    dead.venue.failing = 1
    with pytest.raises(TransientBrokerError):
        await _withdraw(dead)

    number = next(n for n, row in dead.venue.rows.items() if row.open_quantity)
    row = dead.venue.rows[number]
    dead.venue.rows[number] = replace(row, canceled_quantity=row.open_quantity)
    assert await _withdraw(dead) == Cancellation()


def test_a_ledger_that_nobody_can_read_is_told(tmp_path, monkeypatch):
    """The account is restricted and somebody hears of it, though its orders are not known."""
    monkeypatch.delenv("KIS_PAPER_APP_KEY", raising=False)
    home = bootstrap.open_home(tmp_path, console=False).home
    path = bootstrap.ledger_path(home, Env.PAPER, Market.US)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 100)
    silence = Silence(session=date(2005, 5, 27), pid=1, phase="open", seconds=181.0)

    found = stand_in(tmp_path, Env.PAPER, Market.US, silence)

    assert found is not None and not found.is_done
    assert any("장부를 넘겨받지 못함" in one for one in found.orders.failed)
    assert found.state is TradingState.REDUCING
    with sqlite3.connect(home.data_dir / "outbox.db") as db:
        (told,) = db.execute("SELECT body FROM outbox WHERE event = 'risk_event'").fetchall()
    assert "손실을 막지 못합니다" in json.loads(told[0])["message"]


async def test_a_damaged_store_keeps_no_cancel_back(traded, embedded_market, tmp_path, monkeypatch):
    """The ledger names the orders of the dead session; the store of prices is not needed for them."""
    home = bootstrap.open_home(tmp_path, console=False).home
    ledger = bootstrap.open_ledger(home, Env.PAPER, Market.US)
    day = Day(traded, embedded_market, ledger)
    day.plan(35, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        await day.run()
    ledger.close()

    def damaged(_lake, _market):
        raise DataError("자료 파일이 깨짐")

    @asynccontextmanager
    async def client(*_):
        yield day.venue, day.venue.clock

    monkeypatch.setattr(Lake, "instruments", damaged)
    monkeypatch.setattr(bootstrap, "account_client", client)
    silence = Silence(session=day.start.session, pid=1, phase="open", seconds=181.0)

    found = await asyncio.to_thread(stand_in, tmp_path, Env.PAPER, Market.US, silence)

    assert found is not None
    assert (len(found.orders.canceled), found.orders.failed) == (day.count, ())


def test_whatever_stops_who_stands_in_is_told(traded, embedded_market, tmp_path, monkeypatch):
    """A fault that nobody thought of does not end in silence: orders are open, nobody watches."""
    home = bootstrap.open_home(tmp_path, console=False).home
    ledger = bootstrap.open_ledger(home, Env.PAPER, Market.US)
    day = Day(traded, embedded_market, ledger)
    day.plan(35, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(day.run())
    ledger.close()

    def no_files_left(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(bootstrap, "account_client", no_files_left)
    silence = Silence(session=day.start.session, pid=1, phase="open", seconds=181.0)

    found = stand_in(tmp_path, Env.PAPER, Market.US, silence)

    assert found is not None and not found.is_done
    with sqlite3.connect(home.data_dir / "outbox.db") as db:
        (told,) = db.execute("SELECT body FROM outbox WHERE event = 'risk_event'").fetchall()
    message = json.loads(told[0])["message"]
    assert "Too many open files" in message and "증권사 앱" in message


def test_a_request_that_came_to_nothing_waits_for_no_session(tmp_path):
    """The venue cannot be asked, and that is said; no later session cancels what is placed by then."""
    installation = bootstrap.open_home(tmp_path, console=False)

    with pytest.raises(TransientBrokerError) as caught:
        cancel_all(installation, Market.US, by=By.CLI, scope=Scope.EVERYTHING)

    asked = control.read(run_dir(installation.home), "demo", "us").cancel_all
    assert asked is not None
    assert asked.answer == Cancellation(failed=(str(caught.value),))
