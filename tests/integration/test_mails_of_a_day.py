"""A demo with a mail server: what arrives of one day, and whether its orders can be told again."""

import json
from collections import defaultdict
from collections.abc import Iterator

import pytest
from mail_server import Mailbox
from program import EAGER, configure, trading

from trading.ports import RecordKind
from trading.store.ledger import SqliteLedger

pytestmark = pytest.mark.slow


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


def test_a_day_arrives_by_mail_and_its_orders_stand_in_the_trade_log(mailbox, home):
    """Start, orders together, hours with their curve, end, and the report with its page.

    From the trade log alone each order is told again: sent, answered, filled in parts, its costs
    and what it realized, as the ledger has them.
    """
    mailbox.listen()
    mail = {"host": "127.0.0.1", "port": mailbox.port, "security": "none"}
    configure(
        home, {**EAGER, "notify": {"mail": mail}, "execution": {"exits": {"stop_loss": 0.01}}}
    )

    answer = trading(
        home, "demo", "--sessions", "3", "--no-prefect", timeout=900, TRADING_MAIL_TO="a@b.org"
    )

    assert answer.code == 0, answer.err
    subjects = [mail["Subject"] for mail in mailbox.mails]
    for part, least in (("장 시작", 3), ("장 마감", 3), ("일일 보고서", 3), ("매시 상태", 21)):
        assert sum(part in subject for subject in subjects) >= least
    assert any("주문 접수" in subject and "체결" in subject for subject in subjects)
    hour = next(mail for mail in mailbox.mails if "매시 상태" in mail["Subject"])
    report = [mail for mail in mailbox.mails if "일일 보고서" in mail["Subject"]][-1]
    assert {part.get_content_type() for part in hour.walk()} >= {"text/plain", "image/png"}
    assert "기준 지표" in report.get_body(("html",)).get_content()
    assert any(part.get_filename() == "report.html" for part in report.walk())

    told = defaultdict(list)
    for text in (home / "logs" / "trades.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        if "intent_id" in line:
            told[line["intent_id"]].append(line)
    ledger = SqliteLedger(home / "data" / "ledger" / "demo-us.db", read_only=True)
    fills = defaultdict(list)
    for record in ledger.read(RecordKind.FILL):
        fills[record.body["intent_id"]].append(record.body)
    intents = [record.body for record in ledger.read(RecordKind.INTENT)]
    ledger.close()
    assert {line["wish"] for lines in told.values() for line in lines} > {"rebalance"}
    for intent in intents:
        lines = told[intent["intent_id"]]
        assert [line["event"] for line in lines][:2] == ["주문 전송", "주문 접수"]
        booked = [line for line in lines if line["event"] == "체결"]
        for name in ("quantity", "amount"):
            ours = [line[name] for line in booked]
            assert ours == [fill[name] for fill in fills[intent["intent_id"]]]
        assert all({"commission", "tax", "realized", "price", "currency"} <= set(x) for x in booked)
        assert lines[-1]["status"] in ("filled", "canceled", "expired", "partially_filled")
