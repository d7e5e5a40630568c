"""What the outbox gathers, counts, holds back, gives up and forgets."""

import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from trading import log as logs
from trading.clock import ManualClock
from trading.errors import DeliveryError
from trading.notify import Event, NotifySettings, OutboxNotifier
from trading.notify.outbox import told_at

START = datetime(2012, 6, 1, 13, 30, tzinfo=UTC)
ORDER = {"market": "us", "symbol": "AAPL", "side": "buy", "quantity": 100}


class Receiver:
    """A channel that keeps what it is given, or fails as it is told."""

    def __init__(self, name="mail") -> None:
        self.name = self.target = name
        self.messages, self.ids = [], []
        self.failure: DeliveryError | None = None

    async def deliver(self, message, *, message_id, at) -> str:
        await asyncio.sleep(0)
        self.ids.append(message_id)
        if self.failure is not None:
            raise self.failure
        self.messages.append(message)
        return ""

    @property
    def subjects(self) -> list[str]:
        return [message.subject for message in self.messages]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def open_outbox(tmp_path, clock, receiver):
    """Return what opens the outbox of one folder, again and again."""

    def opened(*others, **settings) -> OutboxNotifier:
        return OutboxNotifier(
            tmp_path / "outbox.db",
            settings=NotifySettings.model_validate({"subject_prefix": "", **settings}),
            channels=[receiver, *others],
            clock=clock,
        )

    return opened


def later(clock: ManualClock, **delta) -> None:
    clock.set(clock.now() + timedelta(**delta))


def rows(out: OutboxNotifier) -> list[tuple]:
    with sqlite3.connect(out._path) as db:
        return db.execute("SELECT event, channel, times, attempts, sent_at FROM outbox").fetchall()


def test_a_burst_of_orders_is_one_message(open_outbox, receiver, clock):
    """Nothing leaves while it is gathered; then all of it, with counts, in one."""
    out = open_outbox()
    for event in (Event.ORDER_SUBMITTED, Event.ORDER_FILLED, Event.ORDER_FILLED):
        out.send(event, ORDER)
    out.send(Event.ORDER_REFUSED, ORDER | {"reason": "GUARD_NO_CASH"})

    early = out.deliver_due(gathers=True)
    later(clock, seconds=30)
    due = out.deliver_due(gathers=True)

    assert (early, due) == (0, 4)
    assert receiver.subjects == ["미국 주문 접수 1건, 체결 2건, 주문 거부 1건"]
    assert "거부: 쓸 수 있는 현금 부족" in receiver.messages[0].text


def test_what_is_urgent_does_not_wait_for_others(open_outbox, receiver):
    """Only the events of a group are gathered."""
    out = open_outbox()
    out.send(Event.ORDER_FILLED, ORDER)
    out.send(Event.RISK_EVENT, {"market": "us", "message": "하루 손실 한도"})

    assert out.deliver_due(gathers=True) == 1
    assert receiver.subjects == ["위험 알림 하루 손실 한도"]


def test_a_large_burst_is_split(open_outbox, receiver):
    """A message holds so many at most."""
    out = open_outbox(batch={"most": 2})
    for _ in range(5):
        out.send(Event.ORDER_FILLED, ORDER)

    assert out.deliver_due() == 5
    assert receiver.subjects == [
        "미국 체결 2건",
        "미국 체결 2건",
        "AAPL 매수 100주 체결",
    ]


def test_a_gathered_message_survives_a_crash(open_outbox, receiver):
    """What was gathered by a process that died is sent by the next one, together."""
    first = open_outbox()
    first.send(Event.ORDER_FILLED, ORDER)
    first.send(Event.ORDER_FILLED, ORDER)

    assert open_outbox().deliver_due() == 2
    assert receiver.subjects == ["미국 체결 2건"]


def test_the_same_error_is_told_once_with_its_count(open_outbox, receiver, clock):
    """Repeated before it left: one message that says how often. Afterwards: once an hour."""
    out = open_outbox()
    error = {"message": "시세가 오지 않음", "ts": clock.now()}
    for _ in range(3):
        out.send(Event.ERROR, error | {"ts": clock.now()})
        later(clock, seconds=1)
    out.deliver_due()
    for _ in range(40):
        later(clock, seconds=60)
        out.send(Event.ERROR, error | {"ts": clock.now()})
        out.deliver_due()

    within_the_hour = len(receiver.messages)
    later(clock, minutes=30)
    out.deliver_due()

    assert within_the_hour == 1
    assert "같은 일이 3번 있었습니다" in receiver.messages[0].text
    assert len(receiver.messages) == 2
    assert "같은 일이 40번 있었습니다" in receiver.messages[1].html
    assert [row[2] for row in rows(out)] == [3, 40]


def test_different_errors_are_each_told(open_outbox, receiver):
    """Only what is the same is counted; what is one of a kind by its key is not compared."""
    out = open_outbox()
    out.send(Event.ERROR, {"message": "하나"})
    out.send(Event.ERROR, {"message": "둘"})
    out.send(Event.ERROR, {"message": "둘", "key": "a"})
    out.send(Event.ERROR, {"message": "둘", "key": "b"})

    assert out.deliver_due() == 4
    assert receiver.subjects == ["오류 4건"]


def test_what_repeats_on_the_way_is_not_lost(open_outbox, receiver, clock):
    """An error that comes again while its message leaves is counted in the next one."""
    out = open_outbox()
    out.send(Event.ERROR, {"message": "멈춤"})
    deliver = receiver.deliver

    async def deliver_slowly(message, *, message_id, at):
        out.send(Event.ERROR, {"message": "멈춤"})
        return await deliver(message, message_id=message_id, at=at)

    receiver.deliver = deliver_slowly
    out.deliver_due()
    receiver.deliver = deliver
    later(clock, minutes=61)
    out.deliver_due()

    assert [row[2] for row in rows(out)] == [2, 1]
    assert len(receiver.messages) == 2


QUIET = {"quiet": {"start": "22:00", "end": "07:00", "timezone": "Asia/Seoul"}}


def test_quiet_hours_hold_what_is_not_pressing(open_outbox, receiver, clock):
    """At night an error passes; the rest comes in the morning as one message."""
    out = open_outbox(**QUIET)
    out.send(Event.SESSION_STARTED, {"market": "us", "session": "2012-06-01"})
    out.send(Event.ORDER_FILLED, ORDER)
    out.send(Event.ERROR, {"message": "급함"})
    at_night = out.deliver_due()
    later(clock, hours=8, minutes=29)
    out.send(Event.HOURLY_STATUS, {"market": "us"})
    before_seven = out.deliver_due()
    later(clock, minutes=1)
    in_the_morning = out.deliver_due()

    assert (at_night, before_seven, in_the_morning) == (1, 0, 3)
    assert receiver.subjects == [
        "오류 급함",
        "조용한 시간에 모인 알림: 미국 장 시작 1건, 체결 1건, 매시 상태 1건",
    ]


def test_outside_the_quiet_hours_nothing_is_held(open_outbox, receiver):
    """Hours of the recipient's zone, not of the machine."""
    out = open_outbox(quiet={"start": "22:00", "end": "07:00", "timezone": "America/New_York"})
    out.send(Event.SESSION_STARTED, {"market": "us"})

    assert out.deliver_due() == 1


@pytest.mark.parametrize(
    ("quiet", "said"),
    [
        ({"start": 1320, "end": "07:00"}, "따옴표"),
        ({"start": "22:00"}, "함께"),
        ({"timezone": "Seoul"}, "없는 시간대"),
        ({"start": "22:00+09:00", "end": "07:00"}, "timezone에 적고"),
    ],
)
def test_wrong_quiet_hours_are_refused(quiet, said):
    """What YAML makes of 22:00 without quotes, half a pair, a zone that is none."""
    with pytest.raises(ValueError, match=said):
        NotifySettings.model_validate({"quiet": quiet})


def test_a_channel_that_is_down_is_not_asked_for_each_message(open_outbox, receiver, clock):
    """One try a round, with growing pauses, and the waiting messages keep their attempts."""
    out = open_outbox()
    for number in range(3):
        out.send(Event.SESSION_STARTED, {"session": str(number)})
    receiver.failure = DeliveryError("끊김", remedy="기다림", is_down=True)

    for _ in range(10):
        out.deliver_due()
        later(clock, seconds=10)

    assert len(receiver.ids) == 3
    assert [row[3] for row in rows(out)] == [3, 0, 0]
    receiver.failure = None
    later(clock, hours=1)
    assert out.deliver_due() == 3


def test_a_retry_keeps_its_message_id(open_outbox, receiver, clock):
    """A mail program shows a message that came twice once."""
    out = open_outbox()
    out.send(Event.SESSION_STARTED, {"market": "us"})
    receiver.failure = DeliveryError("바쁨", remedy="기다림")
    out.deliver_due()
    receiver.failure = None
    later(clock, minutes=1)
    out.deliver_due()

    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1


def test_giving_up_is_told_by_the_other_channel(tmp_path, open_outbox, receiver, clock):
    """An error in the log, a message by the way that works, and none by the one that does not."""
    logs.configure(tmp_path / "logs", console=False)
    other = Receiver("webhook")
    out = open_outbox(other, retry={"max_attempts": 2})
    out.send(Event.SESSION_STARTED, {"market": "us"})
    receiver.failure = DeliveryError("거절", remedy="주소 확인")

    for _ in range(4):
        out.deliver_due()
        later(clock, hours=1)
    logs.configure(None)

    assert receiver.messages == []
    assert len(receiver.ids) == 2
    assert other.subjects == [
        "미국 장 시작",
        "오류 메일(으)로 알림 1건을 보내지 못해 포기했습니다: 거절",
    ]
    assert out.pending() == 0
    lines = [json.loads(x) for x in (tmp_path / "logs" / "errors.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["알림 전송 포기"]
    assert lines[0]["remedy"] == "주소 확인"


def test_errors_of_the_log_are_told_once(tmp_path, open_outbox, receiver):
    """Every ERROR line becomes a message with its fields, whose day it is, and a count."""
    logs.configure(tmp_path / "logs", console=False)
    logs.register_secret("sesame-opens")
    out = open_outbox()
    out.start({"market": "us", "session": "2012-06-01"})
    log = logs.get_logger("trading.broker.stream")
    for _ in range(5):
        log.error("놓친 체결 확인 실패", symbol="AAPL", reason="sesame-opens")
    log.error("놓친 체결 확인 실패", symbol="IBM", reason="다른 종목")
    try:
        raise ValueError("값 오류")
    except ValueError:
        log.exception("계산 실패")
    log.critical("매매 중단")
    log.error("따로 알리는 오류", told=True)
    log.warning("주의")
    logs.get_logger("trading.notify.outbox").error("알림 전송 포기")
    out.close()
    log.error("닫은 뒤")
    logs.configure(None)

    (message,) = receiver.messages
    assert message.subject == "미국 오류 4건"
    assert "같은 일이 5번 있었습니다" in message.text
    assert "ValueError: 값 오류" in message.text
    assert "등급: 위험" in message.text
    assert "거래일: 2012-06-01" in message.text
    for absent in ("sesame-opens", "따로 알리는", "주의", "알림 전송", "닫은 뒤", "Traceback"):
        assert absent not in message.text


def test_a_line_that_nobody_can_write_keeps_none_back(tmp_path, open_outbox, receiver):
    """Half a letter, as a broken file's name has it: the other errors are told."""
    logs.configure(tmp_path / "logs", console=False)
    out = open_outbox()
    out.start()
    log = logs.get_logger("trading.store.intake")
    log.error("파일 손상", path="\udc80.parquet")
    log.error("자료를 받지 못함", kind="daily")
    out.close()
    logs.configure(None)

    assert any("자료를 받지 못함" in message.text for message in receiver.messages)


def test_a_damaged_outbox_is_put_aside(tmp_path, open_outbox, receiver):
    """What lies on a bad disk stops no day: a new one is begun, and that is told."""
    logs.configure(None, console=False)
    (tmp_path / "outbox.db").write_bytes(b"not a database at all, not even nearly" * 50)

    out = open_outbox()
    out.send(Event.RISK_EVENT, {"market": "us", "message": "하루 손실 한도"})
    out.deliver_due()

    assert sorted(receiver.subjects) == [
        "오류 알림 보관함이 손상되어 새로 만들었습니다. 아직 보내지 못한 알림은 잃었을 수 있습니다.",
        "위험 알림 하루 손실 한도",
    ]
    (aside,) = tmp_path.glob("outbox.broken-*.db")
    assert aside.read_bytes().startswith(b"not a database")


def test_a_number_that_is_none_is_found_again(tmp_path, open_outbox):
    """SQLite reads the messages of a session also where a figure could not be computed."""
    out = open_outbox()
    told = {"market": "us", "session": "2012-06-01", "ts": START.isoformat()}
    out.send(Event.HOURLY_STATUS, told | {"sharpe": float("nan"), "drawdown": float("inf")})

    found = told_at(tmp_path / "outbox.db", Event.HOURLY_STATUS, market="us", session="2012-06-01")

    assert found == [START]


def test_a_failing_mail_never_mails_about_itself(tmp_path, open_outbox, receiver):
    """Deliveries that fail, for whatever reason, put nothing into the outbox."""
    logs.configure(tmp_path / "logs", console=False)
    out = open_outbox(retry={"first_delay_seconds": 0.01, "max_attempts": 3})
    receiver.failure = RuntimeError("프로그램의 오류")
    out.start()
    logs.get_logger("trading.day").error("무엇인가 잘못됨")
    out.close()
    again = open_outbox()
    receiver.failure = None
    logs.configure(None)

    assert [(row[0], row[2]) for row in rows(again)] == [("error", 1)]


def test_old_rows_are_forgotten(open_outbox, receiver, clock):
    """What was sent long ago goes; what is recent stays."""
    out = open_outbox(keep_days=7)
    out.send(Event.SESSION_STARTED, {"session": "old"})
    out.deliver_due()
    later(clock, days=8)
    out.send(Event.SESSION_STARTED, {"session": "new"})
    out.deliver_due()
    later(clock, days=2)
    out.deliver_due()

    assert len(rows(out)) == 1
    assert len(receiver.messages) == 2


def test_rows_of_a_channel_that_is_no_more_do_not_count(tmp_path, open_outbox, clock):
    """A webhook that was taken out of the settings leaves nothing to be done."""
    both = open_outbox(Receiver("webhook"))
    both.send(Event.SESSION_STARTED, {"market": "us"})

    alone = open_outbox()

    assert (both.pending(), alone.pending()) == (2, 1)


def test_an_outbox_of_an_earlier_version_goes_on(tmp_path, open_outbox, receiver):
    """Rows that wait in a file without the newer columns are sent."""
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        db.execute(
            "CREATE TABLE outbox (id INTEGER PRIMARY KEY, key TEXT, channel TEXT NOT NULL, "
            "event TEXT NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL, next_try_at TEXT "
            "NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, sent_at TEXT, last_error TEXT, "
            "UNIQUE (key, channel))"
        )
        db.execute(
            "INSERT INTO outbox (channel, event, body, created_at, next_try_at) VALUES "
            "('mail', 'session_started', '{\"market\": \"us\"}', ?, ?)",
            (START.isoformat(), START.isoformat()),
        )

    assert open_outbox().deliver_due() == 1
    assert receiver.subjects == ["미국 장 시작"]


def test_a_value_that_nobody_can_read_is_still_told(open_outbox, receiver):
    """One strange field keeps neither its own message nor those gathered with it."""
    out = open_outbox()
    out.send(Event.ORDER_FILLED, ORDER | {"market": "mars"})
    out.send(Event.ORDER_FILLED, ORDER)

    assert out.deliver_due() == 2
    assert "mars" in receiver.messages[0].text


def test_a_misspelled_event_is_no_silence(tmp_path, open_outbox):
    """A name that is no event is an error of the log."""
    logs.configure(tmp_path / "logs", console=False)
    open_outbox().send("order_filed", {})
    logs.configure(None)

    assert "모르는 이름의 알림" in (tmp_path / "logs" / "errors.jsonl").read_text("utf-8")


def test_two_processes_send_a_row_once(open_outbox, receiver):
    """Who claims it sends it; the other finds nothing to do."""
    first, second = open_outbox(), open_outbox()
    first.send(Event.SESSION_STARTED, {"market": "us"})
    deliver = receiver.deliver

    async def meanwhile(message, *, message_id, at):
        assert second.deliver_due() == 0
        return await deliver(message, message_id=message_id, at=at)

    receiver.deliver = meanwhile

    assert first.deliver_due() == 1
    assert len(receiver.messages) == 1


def test_delivery_works_inside_a_running_loop(open_outbox):
    """A flow's hook is called inside its loop."""
    out = open_outbox()
    out.send(Event.ERROR, {"message": "흐름 실패"})

    async def hook() -> int:
        return out.deliver_due()

    assert asyncio.run(hook()) == 1
