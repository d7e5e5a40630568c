"""The operator's word: how it is kept, how a session follows it, and what is never sent meanwhile."""

import asyncio
import json
import stat
from dataclasses import replace

import pytest
from small_venue import Day, Steps, Told

from trading.domain.decision import TradingState
from trading.domain.order import Side
from trading.errors import DataError
from trading.live import control, obedience
from trading.live.control import By, Cancellation, Scope, Watch
from trading.live.journal import Evidence, Journal, read_session
from trading.live.session import LiveSession
from trading.store.ledger import MemoryLedger

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
PLACE = "demo", "us"


class Heard(Told):
    """Keeps what was said of risk."""

    def send(self, event, fields):
        if event == "risk_event":
            self.messages.append(fields)


class Ruled(Day):
    """A day whose operator may speak; every look is a look, however soon after the last."""

    def __init__(self, traded, market, folder):
        super().__init__(traded, market, MemoryLedger())
        self.folder = folder
        self.told = Heard()

    def say(self, state, **words):
        """Leave a word."""
        control.ask(self.folder, *PLACE, state, by=By.CLI, **words)

    @property
    def standing(self):
        """Return what stands."""
        return control.read(self.folder, *PLACE)

    async def run(self):
        recorded = read_session(self.ledger, self.start.session)
        self.engine = self.new_engine()
        live = LiveSession(
            self.engine, self.venue, self.venue,
            Journal(self.ledger, self.start.session, self.venue.clock),
            Steps(self.venue, self.waits), self.told, self.supervision,
            exchanges=self.exchanges, watch=Watch(self.folder, *PLACE),
        )  # fmt: skip
        return await live.run(self.start, self.view, recorded, evidence=Evidence())


@pytest.fixture
def day(traded, embedded_market, tmp_path):
    """The recorded day, with a folder for the operator's word."""
    return Ruled(traded, embedded_market, tmp_path)


def test_the_word_stands_until_the_next(tmp_path):
    """For this user alone, whole, with who said it and why; a request beside it changes nothing."""
    assert not control.read(tmp_path, *PLACE).is_given

    control.ask(tmp_path, *PLACE, HALTED, by=By.DASHBOARD, reason="점검")
    asked = control.ask_cancel_all(tmp_path, *PLACE, by=By.CLI, scope=Scope.EVERYTHING)
    control.answer_cancel_all(tmp_path, *PLACE, "another", Cancellation(canceled=("9",)))
    control.answer_cancel_all(tmp_path, *PLACE, asked.request, Cancellation(failed=("AAPL",)))

    said = control.read(tmp_path, *PLACE)
    assert (said.state, said.word, said.by, said.reason) == (HALTED, HALTED, By.DASHBOARD, "점검")
    assert said.cancel_all is not None
    assert said.cancel_all.answer == Cancellation(failed=("AAPL",))
    (path,) = tmp_path.glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_kill_switch_stops_every_account(tmp_path):
    """While the file lies there, whoever resumes; afterwards what was said before counts again."""
    control.ask(tmp_path, *PLACE, REDUCING, by=By.CLI)
    watch = Watch(tmp_path, "real", "krx")
    assert watch.news() is not None
    assert watch.news() is None
    (tmp_path / control.HALT_FILE).touch()

    assert control.ask(tmp_path, *PLACE, ACTIVE, by=By.CLI).state is HALTED
    news = watch.news()
    assert news is not None
    assert (news.state, news.by, news.word) == (HALTED, By.FILE, ACTIVE)

    control.ask(tmp_path, *PLACE, REDUCING, by=By.CLI)
    (tmp_path / control.HALT_FILE).unlink()
    assert control.read(tmp_path, *PLACE).state is REDUCING
    assert watch.news() is not None


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "resting"}', '{"state": "active"}', "\0"])
def test_what_cannot_be_read_is_a_halt(tmp_path, text):
    """Nobody knows what it said; only a new word takes its place, no answer and no request does."""
    path = tmp_path / "demo-us.control.json"
    path.write_text(text)

    assert control.read(tmp_path, *PLACE).state is HALTED
    with pytest.raises(DataError):
        control.ask_cancel_all(tmp_path, *PLACE, by=By.CLI)
    assert path.read_text() == text
    assert control.ask(tmp_path, *PLACE, ACTIVE, by=By.CLI).state is ACTIVE


def test_a_word_that_cannot_be_written_changes_nothing(tmp_path):
    """The command fails with a sentence that names the way that still works."""
    control.ask(tmp_path, *PLACE, REDUCING, by=By.CLI)
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="HALT"):
        control.ask(tmp_path / "file", *PLACE, HALTED, by=By.CLI)

    assert control.read(tmp_path, *PLACE).state is REDUCING


async def test_nobody_speaks_nothing_changes(day):
    """Without a word the session leaves no file and no record of one."""
    await day.run()

    assert list(day.folder.iterdir()) == []
    assert day.recorded.words == ()
    assert set(day.statuses().values()) == {"expired"}


async def test_a_halt_takes_every_order_back(day):
    """All that is open; nothing leaves until it is over, and who said it is answered."""
    day.plan(35, lambda: day.say(HALTED, reason="시장 급변"))

    await day.run()

    assert set(day.statuses().values()) == {"canceled"}
    assert len(day.venue.canceled) == day.count == len(day.venue.sent)
    (word,) = day.recorded.words
    assert (word.state, word.is_before_decision) == (HALTED, False)
    answer = day.standing.obeyed
    assert (answer.state, answer.request) == (HALTED, day.standing.request)
    assert len(answer.withdrawn.canceled) == day.count
    assert [m["state"] for m in day.told.messages] == ["halted"]
    assert "시장 급변" in day.told.messages[0]["message"]
    assert day.agrees()


async def test_a_halt_between_two_orders(day):
    """The word comes while the first of the morning's orders is on the wire: no second leaves."""
    submit = day.venue.submit

    async def submit_and_speak(intent):
        if not day.venue.sent:
            day.say(HALTED)
        return await submit(intent)

    day.venue.submit = submit_and_speak

    await day.run()

    assert len(day.venue.sent) == 1
    assert day.statuses() == {day.decision.intents[0].symbol: "canceled"}
    assert {code for _, code in day.recorded.denied} == {"GUARD_HALTED"}


async def test_a_halt_while_the_venue_is_waited_for(day):
    """The first order's answer is lost; the word comes before the venue answers again: none leaves."""
    day.venue.fate = ["gone"]
    listed = day.venue.orders

    async def orders_and_speak(session):
        if day.venue.sent and not day.standing.is_given:
            day.say(HALTED)
        return await listed(session)

    day.venue.orders = orders_and_speak

    await day.run()

    assert len(day.venue.sent) == 1
    assert {code for _, code in day.recorded.denied} == {"GUARD_HALTED"}


async def test_reducing_sells_and_a_halt_does_not(day):
    """A stop leaves in REDUCING; in a halt it is kept back and leaves after the resumption."""
    symbol = day.decision.intents[0].symbol
    bought = day.intents[symbol]
    sales = []

    def stop():
        day.venue.tick(symbol, int(bought.limit * 0.9))

    def count():
        sales.append(sum(r.side is Side.SELL for r in day.venue.rows.values()))

    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(symbol)))
    day.plan(35, lambda: day.say(HALTED))
    day.plan(65, stop)
    day.plan(66, count)
    day.plan(95, lambda: day.say(REDUCING))
    day.plan(125, stop)
    day.plan(126, count)

    await day.run()

    assert sales == [0, 1]
    assert [w.state for w in day.recorded.words] == [HALTED, REDUCING]


async def test_the_word_comes_before_the_decision(day):
    """A session that begins halted decides to hold and sends nothing; its proof knows why."""
    day.say(HALTED)

    await day.run()

    assert day.venue.sent == []
    assert day.recorded.decision.state is HALTED
    assert day.recorded.allowed is HALTED
    (word,) = day.recorded.words
    assert word.is_before_decision


async def test_a_word_before_the_session_begins_is_answered(day, monkeypatch):
    """While it waits for its first order, half an hour before the open, the operator is not left alone."""
    monkeypatch.setattr(obedience, "_LOOK_SECONDS", 0.01)

    async def wait(_steps, _session):
        day.say(HALTED)
        while day.standing.obeyed is None:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(Steps, "open_session", wait)

    await day.run()

    assert day.standing.obeyed.state is HALTED
    assert day.venue.sent == []
    assert day.recorded.words[0].is_before_decision


async def test_the_ledger_remembers_a_lost_file(day):
    """A word is not forgotten with the file: the next start goes by the ledger; a switch is."""
    day.say(REDUCING)
    (day.folder / control.HALT_FILE).touch()
    day.plan(45, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        await day.run()
    assert day.engine.risk.state is HALTED

    for path in day.folder.iterdir():
        path.unlink()
    day.venue.plan.clear()
    await day.run()

    assert day.engine.operator is REDUCING
    assert [w.state for w in day.recorded.words] == [HALTED, REDUCING]


async def test_resume_lifts_no_limit(day):
    """A loss beyond the limit while nobody might trade still binds after the halt, and is named."""
    symbol = day.decision.intents[0].symbol
    bought = day.intents[symbol]
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(symbol)))
    day.plan(35, lambda: day.say(HALTED))
    day.plan(65, lambda: day.venue.tick(symbol, bought.limit // 10))
    day.plan(66, lambda: day.say(ACTIVE))

    await day.run()

    assert day.engine.operator is ACTIVE
    assert day.engine.risk.state is REDUCING
    assert day.standing.obeyed.state is REDUCING
    assert day.standing.obeyed.held_by == ("DAILY_LOSS",)


async def test_cancel_all_leaves_the_state(day):
    """Ours only, once, answered with numbers; an order by hand stays unless it is asked for."""
    by_hand = []

    def place():
        by_hand.append(day.venue.place("FB", Side.BUY, 3, 100_000))

    day.exchanges["FB"] = day.exchanges["AAPL"]
    day.plan(31, place)
    day.plan(35, lambda: control.ask_cancel_all(day.folder, *PLACE, by=By.CLI))
    answers = []
    day.plan(95, lambda: answers.append(day.standing.cancel_all.answer))
    day.plan(
        96,
        lambda: control.ask_cancel_all(day.folder, *PLACE, by=By.CLI, scope=Scope.EVERYTHING),
    )

    await day.run()

    assert len(answers[0].canceled) == day.count
    assert by_hand[0] not in answers[0].canceled
    assert day.standing.cancel_all.answer.canceled == (by_hand[0],)
    assert day.engine.risk.state is ACTIVE
    assert day.agrees()


async def test_a_cancel_that_is_refused_is_said(day):
    """What the venue would not cancel is named, and not counted as canceled."""
    day.venue.cancel_fate = ["refused"] * 3
    day.plan(35, lambda: control.ask_cancel_all(day.folder, *PLACE, by=By.CLI))

    await day.run()

    answer = day.standing.cancel_all.answer
    assert len(answer.failed) == min(3, day.count)
    assert len(answer.canceled) == day.count - len(answer.failed)


async def test_a_cancel_that_came_to_nothing_is_not_sent_by_a_restart(day):
    """The venue would not cancel, the operator resumed: over a restart the orders work on, too."""
    day.supervision = replace(day.supervision, absence_listings=9)
    day.venue.cancel_fate = ["refused"] * 100
    day.plan(35, lambda: day.say(HALTED))
    day.plan(65, lambda: day.say(ACTIVE))
    day.plan(95, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        await day.run()
    tried = list(day.venue.canceled)
    assert len(set(tried)) == day.count

    await day.run()

    assert day.venue.canceled == tried
    assert set(day.statuses().values()) == {"expired"}


async def test_a_full_disk_keeps_the_halt(day, monkeypatch):
    """The halt counts although nobody can be answered."""
    day.plan(35, lambda: day.say(HALTED))
    day.plan(36, lambda: None)

    def full(*_):
        raise DataError("디스크에 자리가 없음")

    monkeypatch.setattr(Watch, "answer", full)

    await day.run()

    assert day.engine.risk.state is HALTED
    assert set(day.statuses().values()) == {"canceled"}
    assert day.standing.obeyed is None


def test_two_words_in_one_instant(tmp_path, traded):
    """A venue's time may stand still between two words: the last one counts all the same."""
    ledger, start = MemoryLedger(), traded.start
    journal = Journal(ledger, start.session, type("Still", (), {"now": lambda _: start.open_ts})())

    for state in (HALTED, ACTIVE, HALTED):
        journal.operator(state, state, by="cli", reason="")

    assert [w.state for w in read_session(ledger, start.session).words] == [HALTED, ACTIVE, HALTED]
    assert journal.last_word() is HALTED
    assert json.dumps([r.body for r in ledger.read()]).count("OPERATOR") == 3
