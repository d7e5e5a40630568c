"""Law 4 at the socket: a request leaves after its intent is durable, and never otherwise."""

import random
from datetime import UTC, datetime

import pytest
from small_venue import Day

from trading.broker.client import KisClient
from trading.broker.settings import Credentials
from trading.clock import ManualClock
from trading.config import load_settings
from trading.domain.instrument import Instrument, Market
from trading.domain.order import OrderStatus
from trading.errors import LedgerError
from trading.store.ledger import SqliteLedger

CREDENTIALS = Credentials(
    app_key="key-of-test", app_secret="secret-of-test", account="1234567801", hts_id="hts-of-test"
)


class Sockets:
    """A KIS that takes tokens and orders and remembers what the ledger held at each request."""

    def __init__(self, ledger):
        from scripted_server import ScriptedServer

        self.ledger, self.written = ledger, []
        self.number = 0
        self.server = ScriptedServer(self._answer)

    def _answer(self, path, fields, headers):
        if path.endswith("/tokenP"):
            body = {
                "access_token": "token-1", "token_type": "Bearer", "expires_in": 86400,
                "access_token_token_expired": "2099-01-01 00:00:00",
            }  # fmt: skip
            return 200, body, {}
        assert path.endswith("/order"), path
        self.written.append([r.body["symbol"] for r in self.ledger.read() if r.kind == "intent"])
        self.number += 1
        output = {"KRX_FWDG_ORD_ORGNO": "06010", "ODNO": f"{self.number:010d}", "ORD_TMD": "103000"}
        return (
            200,
            {"rt_cd": "0", "msg_cd": "APBK0013", "msg1": "주문 전송 완료", "output": output},
            {},
        )


@pytest.fixture
def wired(traded, embedded_market, tmp_path, monkeypatch):
    """Return a day whose orders leave through the real client and a socket."""
    monkeypatch.syspath_prepend("tests/unit/broker")
    ledger = SqliteLedger(tmp_path / "book.db")
    day = Day(traded, embedded_market, ledger)
    sockets = Sockets(ledger)
    client = KisClient(
        load_settings(tmp_path).kis,
        profile="real",
        market=Market.US,
        instruments={s: Instrument(symbol=s, exchange=e, name=s) for s, e in day.exchanges.items()},
        credentials=CREDENTIALS,
        clock=ManualClock(datetime(2005, 5, 27, 13, tzinfo=UTC)),
        cache_dir=tmp_path / "cache",
        rest_base=sockets.server.base,
        ws_base="ws://127.0.0.1:1",
    )

    async def submit(intent):
        ack = await client.submit(intent)
        day.venue.place(intent.symbol, intent.side, intent.quantity, intent.limit)
        return ack

    day.venue.submit = submit
    day.sockets = sockets
    yield day
    client._transport.close()
    sockets.server.close()
    ledger.close()


async def test_each_request_finds_its_intent_in_the_ledger(wired):
    """Another connection to the file sees the committed intent before the venue sees the order."""
    await wired.run()

    symbols = [i.symbol for i in wired.decision.intents]
    assert wired.sockets.written == [symbols[: n + 1] for n in range(wired.count)]


@pytest.mark.parametrize("nth", [0, 2])
async def test_no_request_without_its_intent(wired, nth):
    """The commit of one intent fails: no request of it or of a later one is on the socket.

    With room again the same command sends the rest, each once.
    """
    # The file refuses the nth intent as a full disk does, inside the transaction.
    refused = wired.decision.intents[nth].intent_id
    wired.ledger._connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON journal WHEN NEW.kind = 'intent' AND NEW.key LIKE"
        f" '%{refused}' BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
    )

    with pytest.raises(LedgerError, match="디스크에 자리가 없어"):
        await wired.run()

    assert len(wired.sockets.written) == nth
    assert len(wired.venue.rows) == nth
    assert len(wired.recorded.orders) == nth
    wired.ledger._connection.execute("DROP TRIGGER full")
    outcome = await wired.run()

    assert wired.sockets.number == wired.count
    assert (outcome.orders, outcome.differences) == (wired.count, ())


@pytest.mark.parametrize("kind", ["update", "fill", "mark", "decision", "session"])
async def test_a_ledger_that_fails_in_the_middle(wired, kind):
    """Whatever cannot be written, the session stops at once, and the next one completes the day."""
    when = random.Random(kind).randrange(1, wired.count)
    wired.plan(1, lambda: [wired.venue.fill_all(n) for n in list(wired.venue.rows)])
    seen = []
    append = wired.ledger.append

    def failing(*records):
        if any(r.kind == kind for r in records):
            seen.append(kind)
            if len(seen) == (1 if kind in ("decision", "session") else when):
                raise LedgerError("장부를 쓰지 못했습니다")
        return append(*records)

    wired.ledger.append = failing
    with pytest.raises(LedgerError):
        await wired.run()
    sent = wired.sockets.number
    wired.ledger.append = append
    wired.venue.notices.clear()
    if any(not row.filled_quantity for row in wired.venue.rows.values()) or not wired.venue.rows:
        wired.plan(2, lambda: [wired.venue.fill_all(n) for n in list(wired.venue.rows)])

    outcome = await wired.run()

    assert sent <= wired.sockets.number == wired.count
    assert outcome.differences == ()
    assert wired.agrees()
    assert {o.status for o in wired.recorded.orders.values()} == {OrderStatus.ACCEPTED}
