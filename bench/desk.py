"""A trading desk without sockets: the real stream client, engine, guards and order codec.

It holds two shares of the embedded history on one session. One was bought a quarter above its
recorded price, so that every print of it is under the stop and must become an order; the other
one at its price, so that nothing follows from its prints.
"""

import json
import random
import tempfile
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from time import perf_counter_ns

from trading.backtest.runner import fees_of, session_start
from trading.bootstrap import policy_of
from trading.broker.client import KisClient
from trading.broker.settings import Credentials
from trading.clock import ManualClock
from trading.config import load_settings
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.market import Tick
from trading.domain.order import Order, OrderAck, OrderIntent, OrderStatus, Side
from trading.domain.rules import shipped_rules
from trading.execution.decide import RiskState, Views
from trading.execution.engine import SessionStart, Submit, TradingEngine
from trading.live.journal import Journal
from trading.sessions import SessionCalendar
from trading.simulation.account import Account
from trading.store.datasets import EmbeddedSource
from trading.store.ledger import SqliteLedger
from trading.store.panels import assemble_panels
from trading.strategies.evaluation import evaluate
from trading.wire import auth
from trading.wire import stream as wire
from trading.wire.endpoints import Profile

SESSION = date(2005, 5, 27)
SYMBOL, CALM = "AAPL", "MSFT"
# What stands in the books of a busy day beside the order to come.
EARLIER_ORDERS = 40


class Desk:
    """One account in the middle of a session."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._settings = load_settings(self._folder)
        market, source = Market.US, EmbeddedSource()
        rules, calendar = shipped_rules(market), SessionCalendar(market)
        days = source.sessions(market)
        raw, adjusted = assemble_panels(
            source.daily(market, None, days[0], days[-1]),
            source.actions(market, days[0], days[-1]),
            days,
            market,
            None,
            index=source.index(market, days[0], days[-1]),
            benchmark="S&P 500",
        )
        row = raw.row_of(SESSION)
        policy = policy_of(self._settings, market, calendar)
        policy = replace(policy, exits=policy.exits.model_copy(update={"stop_loss": 0.05}))
        evaluation = evaluate(
            adjusted.until(row + 1),
            raw,
            features=self._settings.features,
            strategies=self._settings.strategies,
            agents=("ma_crossover", "rsi", "bollinger_mfi", "momentum"),
        ).evaluation
        self.engine = TradingEngine(
            policy,
            Account(market, 1_000_000_000),
            RiskState(peak=1_000_000_000, cooldown=0, state=TradingState.ACTIVE),
            fees_of(rules, calendar),
        )
        prices = {symbol: int(raw.close[row - 1, i]) for i, symbol in enumerate(raw.symbols)}
        self._prices = prices
        self.engine.account.restore(
            {
                "cash": 1_000_000_000,
                "positions": {
                    SYMBOL: [100, 125 * prices[SYMBOL]],
                    CALM: [100, 100 * prices[CALM]],
                },
                "traded": {},
            }
        )
        views = Views(evaluation, raw, rules, policy)
        self._view = views.at(row, held=self.engine.account.positions)
        self._start: SessionStart = session_start(
            self._view, raw, row, (), rules, self.engine, *calendar.open_close(SESSION)
        )
        self.engine.handle(self._start)
        self.engine._view = self._view
        self._clock = ManualClock(self._start.open_ts)
        self._instruments = {one.symbol: one for one in source.instruments(market)}
        self._client = KisClient(
            self._settings.kis,
            profile=Profile.REAL,
            market=market,
            instruments=self._instruments,
            credentials=Credentials(
                app_key="k" * 36, app_secret="s" * 180, account="1234567801", hts_id="bench"
            ),
            clock=self._clock,
            cache_dir=self._folder,
        )
        self._seen: set[str] = set()
        self._fill_books()
        self._totals = dict.fromkeys((SYMBOL, CALM), 0)

    def frames(self, k: int) -> tuple[str, str]:
        """Return the ``k``-th pair of frames: one that changes nothing, one under the stop."""
        moment = self._start.open_ts + timedelta(seconds=k)
        self._clock.set(moment)
        return self._frame(CALM, moment), self._frame(SYMBOL, moment)

    def order_bytes(self, text: str) -> bytes | None:
        """Take a frame as the socket gives it; return the order that must leave, ready to send."""
        stream, engine = self._client._stream, self.engine
        stream._handle_data(wire.text_of(text.encode()))
        for event in stream.drain():
            assert isinstance(event, Tick)
            for command in engine.handle(event):
                if isinstance(command, Submit):
                    endpoint, fields, variant = self._client._calls.order_call(command.intent)
                    headers = auth.request_headers(
                        app_key="k" * 36,
                        app_secret="s" * 180,
                        token="t" * 300,
                        tr_id=endpoint.tr_id(Profile.REAL, variant),
                    )
                    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                    body = json.dumps(fields).encode()
                    return f"POST {endpoint.path} HTTP/1.1\r\n{head}\r\n".encode() + body
        return None

    def forget(self) -> None:
        """Take the order back, as if the frame had not come."""
        engine = self.engine
        for intent_id in [one for one in engine.orders if one not in self._seen]:
            self._last = engine.orders.pop(intent_id)
        engine._exited.clear()

    def commits(self, count: int) -> list[int]:
        """Return how long the commit of an intent takes that precedes every request."""
        ledger = SqliteLedger(self._folder / "ledger.db")
        journal = Journal(ledger, SESSION, self._clock)
        times = []
        for k in range(count):
            intent = replace(self._last.intent, intent_id=f"bench:{k}")
            begin = perf_counter_ns()
            journal.intends(intent, highest_order_id="0000000001")
            times.append(perf_counter_ns() - begin)
        ledger.close()
        return times

    def _fill_books(self) -> None:
        rng = random.Random(1)
        for k in range(EARLIER_ORDERS):
            symbol = rng.choice([one for one in self._instruments if one not in (SYMBOL, CALM)])
            order = self._earlier(f"bench:{k}", symbol)
            self.engine.orders[order.intent.intent_id] = order
            self._seen.add(order.intent.intent_id)

    def _earlier(self, intent_id: str, symbol: str) -> Order:
        intent = OrderIntent(
            intent_id=intent_id, session=SESSION, boundary="open", symbol=symbol,
            exchange=self._instruments[symbol].exchange, side=Side.BUY, quantity=10, limit=1_000,
        )  # fmt: skip
        order = Order(intent=intent).moved(OrderStatus.SUBMITTED)
        ack = OrderAck(venue_order_id="1", branch="", ts_event=self._start.open_ts)
        return order.acknowledged(ack).moved(OrderStatus.CANCELED)

    def _frame(self, symbol: str, moment: datetime) -> str:
        self._totals[symbol] += 100
        price, total = self._prices[symbol], self._totals[symbol]
        trade = wire.Print(
            symbol=symbol, ts=moment, price=price, volume=100, cumulative_volume=total,
            value=0, open=price, high=price, low=price, previous_close=price,
        )  # fmt: skip
        record = wire.render_trade(Market.US, trade, self._instruments[symbol])
        return wire.frame_message("HDFSCNT0", [record])
