"""Schedules of faults: how they are written, drawn, counted and remembered.

What each fault does to the real client is in ``tests/integration/broker/test_client_faults.py``.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from exchange_client import HTS_ID, Client
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import ConfigError
from trading.exchange.faults import (
    KINDS,
    NUMBERS,
    Fault,
    FaultSchedule,
    Injector,
    Stage,
    draw,
    fault_from,
)
from trading.exchange.faulty_frames import Line
from trading.exchange.journal import Journal
from trading.store.datasets import RecordedSource
from trading.wire import stream

DAY = date(2005, 2, 25)
NOW = datetime(2005, 2, 25, 14, 30, tzinfo=UTC)
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "faults.md"
QUOTE = "/uapi/overseas-price/v1/quotations/price"
APPLE = {"AUTH": "", "EXCD": "NAS", "SYMB": "AAPL"}


def strike(injector: Injector, endpoint: str = "us_order", **more: Any) -> str:
    """Return the name of the fault that meets a call."""
    met = {"is_read": False, "is_next_page": False, "symbol": "AAPL", "session": DAY, "now": NOW}
    fault = injector.on_call(endpoint, **{**met, **more})
    return fault.kind.name if fault is not None else ""


def one(number: int, variant: str, **more: Any) -> FaultSchedule:
    """Return a schedule of one entry."""
    return FaultSchedule("test", (fault_from({"fault": number, "variant": variant, **more}, str),))


# --- writing ---------------------------------------------------------------------------------


def test_a_file_is_a_schedule(tmp_path):
    """Every key of an entry is read; what is not said has its default."""
    path = tmp_path / "faults.yaml"
    path.write_text(
        "- {fault: 1, variant: reset, call: us_order, nth: 2}\n"
        "- fault: 24\n"
        "  variant: vi\n"
        "  symbol: 'AAPL'\n"
        "  session: 2005-02-25\n"
        "  at: 2005-02-25T15:00:00+00:00\n"
        "  minutes: 5\n"
    )

    first, second = FaultSchedule.parse(str(path), Market.US).faults

    assert (first.kind.name, first.call, first.nth, first.count) == ("1/reset", "us_order", 2, 1)
    assert (second.symbol, second.session) == ("AAPL", DAY)
    assert second.at == datetime(2005, 2, 25, 15, tzinfo=UTC)
    assert second.option("minutes") == 5


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("- fault: 1\n  variant: reset\n  nht: 2\n", 3, "nht"),
        ("- fault: 99\n", 1, "99"),
        ("- fault: 1\n  variant: nonsense\n", 2, "nonsense"),
        ("- fault: 1\n  call: us_oder\n", 2, "us_oder"),
        ("- fault: 1\n  nth: 0\n", 2, "nth"),
        ("- fault: 1\n\n  count: many\n", 3, "count"),
        ("- fault: 1\n  session: tomorrow\n", 2, "session"),
        ("- fault: 1\n  at: 2005-02-25T15:00:00\n", 2, "시간대"),
        ("- fault: 1\n  symbol: 000660\n", 2, "따옴표"),
        ("- fault: 6\n  variant: nasd\n", 2, "규칙"),
        ("- fault: 1\n- reset\n", 2, "이름"),
        ("- fault: 1\n  fault: 2\n", 1, "두 번"),
        ("- fault: [1\n", 2, "YAML"),
        ("fault: 1\n", 0, "목록"),
    ],
)
def test_a_wrong_entry_is_named_by_its_line(tmp_path, text, line, word):
    """Unknown keys, values and variants are errors that say where."""
    path = tmp_path / "faults.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as error:
        FaultSchedule.parse(str(path), Market.US)

    assert word in str(error.value)
    assert not line or f"{line}번째 줄" in str(error.value)


@pytest.mark.parametrize("text", ["seed:", "seed:x", "missing.yaml", "/"])
def test_a_schedule_that_is_none_is_refused(text):
    """Neither a seed nor a file: one sentence."""
    with pytest.raises(ConfigError):
        FaultSchedule.parse(text, Market.US)


@given(
    st.dictionaries(
        st.sampled_from(["fault", "variant", "call", "symbol", "session", "at", "nth", "count",
                         "seconds", "rows", "zzz"]),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=8), st.booleans(),
                  st.lists(st.integers(), max_size=2)),
    )
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_entry_is_a_fault_or_an_error(spec):
    """Whatever is posted, the answer is an entry or a sentence."""
    try:
        fault = fault_from(spec, str)
    except ConfigError:
        return
    kept = {key: value for key, value in fault.spec().items() if value is not None}
    assert fault_from(json.loads(json.dumps(kept)), str) == fault


def test_the_command_names_the_line_and_ends_with_two(tmp_path):
    """A wrong file stops the command before anything is started."""
    path = tmp_path / "faults.yaml"
    path.write_text("- fault: 1\n  wariant: reset\n")

    words = ["-m", "trading.cli", "--root", str(tmp_path / "home")]
    serve = [*words, "exchange", "serve", "--market", "us", "--faults", str(path)]
    done = subprocess.run([sys.executable, *serve], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f"{path} 2번째 줄: 모르는 항목 'wariant'" in done.stderr
    assert "Traceback" not in done.stderr


# --- seeds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("market", list(Market))
def test_two_hundred_seeds_draw_every_fault_that_can_be_drawn(market):
    """A seed always gives the same entries; over many seeds nothing is left out."""
    drawable = {kind.name for kind in KINDS.values() if kind.span and kind.market in (None, market)}
    drawn = {fault.kind.name for seed in range(200) for fault in draw(seed, market).faults}

    assert drawn == drawable
    assert draw(7, market) == draw(7, market)
    assert draw(7, market) != draw(8, market)


# --- counting --------------------------------------------------------------------------------


def test_the_nth_call_is_met_and_no_other(tmp_path):
    """``nth`` counts the calls that fit, ``count`` the times it then happens."""
    injector = Injector(one(1, "reset", call="us_order", nth=2, count=2), Journal(tmp_path / "j"))

    calls = ["us_order", "us_change", "us_order", "us_order", "us_order"]

    assert [strike(injector, call) for call in calls] == ["", "", "1/reset", "1/reset", ""]
    assert injector.counts()["1"] == 2
    assert injector.is_idle


def test_an_entry_may_name_symbol_session_and_instant(tmp_path):
    """Other symbols, other days and earlier instants are no occasions."""
    entry = one(1, "reset", symbol="AAPL", session="2005-02-25", at="2005-02-25T14:30:00+00:00")
    injector = Injector(entry, Journal(tmp_path / "j"))

    others: list[dict[str, Any]] = [
        {"symbol": "IBM"},
        {"session": date(2005, 2, 28)},
        {"now": datetime(2005, 2, 25, 14, 29, tzinfo=UTC)},
    ]

    assert [strike(injector, **other) for other in others] == ["", "", ""]
    assert strike(injector) == "1/reset"


def test_a_restart_does_not_begin_again(tmp_path):
    """What has happened is in the journal before it happens: a killed exchange remembers."""
    schedule = FaultSchedule("test", (*one(1, "reset").faults, *one(3, "revoked", nth=2).faults))
    first_life = Journal(tmp_path / "j")
    injector = Injector(schedule, first_life)
    injector.add([{"fault": 4, "call": "us_order", "nth": 3}])
    met = [strike(injector), strike(injector)]
    first_life.close()

    injector = Injector(schedule, Journal(tmp_path / "j"))
    met += [strike(injector), strike(injector)]

    assert met == ["1/reset", "3/revoked", "4/gateway", ""]
    assert [injector.counts()[number] for number in ("1", "3", "4", "5")] == [1, 1, 1, 0]


@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from(["1/reset", "3/revoked", "11/window", "26/twin"]),
            st.integers(1, 4),
            st.integers(1, 3),
        ),
        max_size=5,
    ),
    lives=st.lists(st.integers(0, 12), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_no_fault_happens_more_often_than_written(tmp_path_factory, entries, lives):
    """However often the exchange is killed between calls, ``count`` is kept to."""
    path = tmp_path_factory.mktemp("journal") / "j"
    schedule = FaultSchedule(
        "test", tuple(Fault(kind=KINDS[name], nth=nth, count=count) for name, nth, count in entries)
    )
    met: list[str] = []
    for calls in lives:
        journal = Journal(path)
        injector = Injector(schedule, journal)
        met += [strike(injector) for _ in range(calls)]
        counts = injector.counts()["variants"]
        journal.close()

    written = {name: sum(e[2] for e in entries if e[0] == name) for name in {e[0] for e in entries}}
    happened = {name: met.count(name) for name in written}
    assert all(happened[name] <= written[name] for name in written)
    assert {name: count for name, count in happened.items() if count} == counts


# --- frames ------------------------------------------------------------------------------------

KEYS = {"H0GSCNI0": ("0123456789abcdef", "0123456789abcdef0123456789abcdef")}


@dataclass
class Watch:
    """The clock of a venue, which is all that a line asks of it."""

    session: date = DAY
    now: datetime = NOW


def frames() -> st.SearchStrategy[tuple[str, int]]:
    """Return trade and notice frames by TR and number."""
    return st.tuples(st.sampled_from(["HDFSCNT0", "H0GSCNI0"]), st.integers(0, 99))


def numbers(texts: list[str]) -> list[tuple[str, str]]:
    """Return TR and number of every record in data frames."""
    found = []
    for text in texts:
        if stream.is_data(text):
            frame = stream.parse_frame(text)
            iv, secret = KEYS.get(frame.tr_id, ("", ""))
            payload = frame.payload
            payload = stream.decrypt(payload, iv=iv, secret=secret) if frame.encrypted else payload
            fields = payload.split("^")
            width = len(fields) // frame.count
            found += [(frame.tr_id, fields[width * i + 2]) for i in range(frame.count)]
    return found


@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from(
                ["14/merged", "14/merged_notices", "15/ping", "25/reordered", "25/delayed"]
            ),
            st.integers(1, 6),
        ),
        max_size=6,
    ),
    instants=st.lists(st.lists(frames(), max_size=6), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_what_is_late_merged_or_interrupted_arrives_once(tmp_path_factory, entries, instants):
    """Whatever the order, each record leaves exactly once, and none is invented."""
    schedule = FaultSchedule(
        "test", tuple(Fault(kind=KINDS[name], nth=nth) for name, nth in entries)
    )
    journal = Journal(tmp_path_factory.mktemp("journal") / "j")
    line = Line(Injector(schedule, journal), cut=lambda _: None, forget=lambda: None)
    out: list[str] = []
    for instant in instants:
        for tr_id, number in instant:
            iv, secret = KEYS.get(tr_id, ("", ""))
            text = stream.frame_message(tr_id, [f"a^b^{number}"], iv=iv, secret=secret)
            out += line.pass_on(text, KEYS, Watch())
        out += line.settle(KEYS)
    for _ in range(2):
        out += line.settle(KEYS)
    journal.close()

    sent = [(tr_id, str(number)) for instant in instants for tr_id, number in instant]
    assert sorted(numbers(out)) == sorted(sent)


# --- over the wire ---------------------------------------------------------------------------


def test_the_control_door_takes_and_counts(exchange: Client):
    """Entries may be added while the exchange runs; a wrong one adds nothing."""
    exchange.open("2005-02-25")
    entry = {"fault": 12, "variant": "business"}

    bad = exchange.control("faults", faults=[entry, {"fault": 12, "wrong": 1}])
    good = exchange.control("faults", faults=[entry])
    answer = exchange.get(QUOTE, "HHDFS00000300", APPLE).json()
    again = exchange.get(QUOTE, "HHDFS00000300", APPLE).json()
    counts = exchange.control("faults", faults=[])

    assert (bad["status"], good["status"]) == (409, 200)
    assert "2번째 항목의 wrong" in bad["error"]
    assert len(good["pending"]) == 1
    assert (answer["msg_cd"], again["msg_cd"]) == ("90000000", "MCA00000")
    assert [counts[str(number)] for number in NUMBERS if number != 23] == [
        int(number == 12) for number in NUMBERS if number != 23
    ]
    # Every US session has a Korean midnight in it.
    assert counts["variants"] == {"12/business": 1, "23/midnight": 1}
    assert counts["pending"] == []


def test_a_half_day_is_counted(exchange: Client):
    """The day after Thanksgiving 2005 closed at 13:00."""
    exchange.open("2005-11-25")

    assert exchange.control("faults", faults=[])["variants"]["23/half_day"] == 1


def test_the_control_door_wants_its_token(exchange: Client):
    """Nobody else may inject."""
    answer = exchange.http.post("/control/faults", json={"faults": []})

    assert answer.status_code == 403


def test_the_same_seed_and_requests_give_the_same_faults(start_exchange: Callable[..., Client]):
    """A run can be repeated: the second exchange does exactly what the first did."""
    schedule = FaultSchedule(
        "test", (*one(4, "gateway", nth=2).faults, *one(3, "maintenance").faults)
    )
    told = []
    for turn in range(2):
        exchange = start_exchange(faults=FaultSchedule(f"test{turn}", schedule.faults))
        exchange.open("2005-02-25") if not turn else exchange.login()
        answers = [
            exchange.http.get(QUOTE, params=APPLE, headers=exchange.headers("HHDFS00000300"))
            for _ in range(4)
        ]
        told.append([(one.status_code, one.json()["msg_cd"]) for one in answers])
        exchange.stop()

    assert told[0] == [(500, ""), (500, "EGW00201"), (200, "MCA00000"), (200, "MCA00000")]
    assert told[1] == told[0]


def test_frames_that_never_left_are_not_counted(start_exchange: Callable[..., Client]):
    """The barrier of lock-step waits for what was sent, not for what was held or lost."""
    faults = (*one(15, "dropped", symbol="AAPL").faults, *one(25, "delayed").faults)
    exchange = start_exchange(faults=FaultSchedule("test", faults))
    exchange.open("2005-02-25")
    listener = exchange.listen()
    listener.register("H0GSCNI0", HTS_ID)
    listener.register("HDFSCNT0", "DNASAAPL")
    exchange.order("buy", "AAPL", 10, "50.00")

    frames = [exchange.control("status")["frames"], exchange.step()["frames"]]
    tr_id, records = listener.records()

    # Two replies; then the late notice, and no print.
    assert [count for one in frames for count in one.values()] == [2, 3]
    assert (tr_id, stream.parse_notice(tr_id, records[0]).is_fill) == ("H0GSCNI0", False)


# --- Korean faults (recorded KRX days; skipped without them) -------------------------------------


@pytest.fixture(scope="module")
def recorded() -> dict[Path, RecordedSource]:
    """Return the sources opened so far, so that each file is read once."""
    return {}


@pytest.fixture
def history(shared_data: Path, recorded: dict[Path, RecordedSource]) -> RecordedSource:
    """Return the recorded files as a source."""
    return recorded.setdefault(shared_data, RecordedSource(shared_data))


def test_korean_rules_are_counted_where_they_bite(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """A market order reserves at the upper limit, and a listing of KRX hides the other venues."""
    exchange = start_exchange(market=Market.KRX, history=history)
    exchange.open("2024-01-15")
    account = exchange.account
    body = {**account, "PDNO": "005930", "ORD_DVSN": "01", "ORD_QTY": "1", "ORD_UNPR": "0",
            "EXCG_ID_DVSN_CD": "KRX"}  # fmt: skip
    listing = {**account, "INQR_STRT_DT": "20240115", "INQR_END_DT": "20240115",
               "SLL_BUY_DVSN_CD": "00", "INQR_DVSN": "00", "PDNO": "", "CCLD_DVSN": "00",
               "ORD_GNO_BRNO": "", "ODNO": "", "INQR_DVSN_3": "00", "INQR_DVSN_1": "",
               "CTX_AREA_FK100": "", "CTX_AREA_NK100": ""}  # fmt: skip
    trade = "/uapi/domestic-stock/v1/trading/"

    ordered = exchange.post(trade + "order-cash", "TTTC0012U", body).json()
    listed = exchange.get(trade + "inquire-daily-ccld", "TTTC0081R", listing).json()
    counts = exchange.control("faults", faults=[])

    assert (ordered["rt_cd"], listed["rt_cd"]) == ("0", "0")
    assert (counts["8"], counts["9"]) == (1, 1)


def test_one_generation_of_order_ids_may_be_refused(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """Old and new order TR ids are both taken, until one of them is switched off."""
    exchange = start_exchange(market=Market.KRX, history=history)
    exchange.open("2024-01-15")
    body = {**exchange.account, "PDNO": "005930", "ORD_DVSN": "00", "ORD_QTY": "1",
            "ORD_UNPR": "70000", "EXCG_ID_DVSN_CD": "KRX"}  # fmt: skip

    def both() -> list[str]:
        path = "/uapi/domestic-stock/v1/trading/order-cash"
        return [exchange.post(path, t, body).json()["msg_cd"] for t in ("TTTC0012U", "TTTC0802U")]

    answers = [both()]
    for variant in ("new_refused", "old_refused"):
        exchange.control("faults", faults=[{"fault": 21, "variant": variant, "count": 1}])
        answers.append(both())

    assert answers == [
        ["APBK0013", "APBK0013"],
        ["OPSQ0002", "APBK0013"],
        ["APBK0013", "OPSQ0002"],
    ]


def test_a_market_order_by_hand_reserves_at_the_limit(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """Until it fills, a market buy takes cash at the day's upper limit: 30 % above the base."""
    exchange = start_exchange(market=Market.KRX, history=history)
    exchange.open("2024-01-15")
    power = {**exchange.account, "PDNO": "005930", "ORD_UNPR": "70000", "ORD_DVSN": "00",
             "CMA_EVLU_AMT_ICLD_YN": "N", "OVRS_ICLD_YN": "N"}  # fmt: skip

    def cash() -> int:
        path = "/uapi/domestic-stock/v1/trading/inquire-psbl-order"
        body = exchange.get(path, "TTTC8908R", power).json()
        return int(body["output"]["ord_psbl_cash"])

    before = cash()
    halt = {"fault": 24, "variant": "halt", "symbol": "005930", "minutes": 600}
    buy = {"fault": 9, "variant": "by_hand", "symbol": "005930", "quantity": 10}
    exchange.listen().register("H0STCNT0", "005930")
    exchange.control("faults", faults=[halt, buy])
    # The halt at the opening print, the order at the next.
    exchange.step()
    exchange.step()
    taken = before - cash()

    # Samsung closed at 73,100 won the day before: limit 95,000 (30 % down to the tick of 100).
    assert 10 * 95_000 <= taken <= 10 * 95_000 * 1.01


def test_an_index_call_is_counted(start_exchange: Callable[..., Client], history: RecordedSource):
    """KOSPI is 0001 at KIS and 1001 elsewhere: each index call is a chance to be wrong."""
    exchange = start_exchange(market=Market.KRX, history=history)
    exchange.open("2024-01-15")
    params = {"FID_COND_MRKT_DIV_CODE": "U", "FID_INPUT_ISCD": "0001"}

    path = "/uapi/domestic-stock/v1/quotations/inquire-index-price"
    exchange.get(path, "FHPUP02100000", params)

    assert exchange.control("faults", faults=[])["variants"]["18/index"] == 1


def test_holidays_may_be_asked_once(start_exchange: Callable[..., Client], history: RecordedSource):
    """KIS asks for one holiday call a day: from the second on they may be refused."""
    faults = one(20, "once_a_day", nth=2)
    exchange = start_exchange(market=Market.KRX, history=history, faults=faults)
    exchange.open("2024-01-15")
    params = {"BASS_DT": "20240115", "CTX_AREA_NK": "", "CTX_AREA_FK": ""}

    path = "/uapi/domestic-stock/v1/quotations/chk-holiday"
    headers = exchange.headers("CTCA0903R")
    answers = [exchange.http.get(path, params=params, headers=headers) for _ in range(3)]

    assert [one.json()["msg_cd"] for one in answers][1:] == ["EGW00201", "EGW00201"]
    assert answers[0].json()["rt_cd"] == "0"


# --- the document ----------------------------------------------------------------------------


def test_the_document_names_every_fault():
    """``docs/faults.md`` has one row per kind, with the kind's own sentence, and no other."""
    rows = re.findall(r"^\| `(\d+/\w+)` \| ([^|]+) \|", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert [(name, text.strip()) for name, text in rows] == [
        (kind.name, kind.text) for kind in KINDS.values()
    ]


def test_the_document_names_real_tests():
    """The proof that a row names is a test of this file or of the client's."""
    told = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))
    client_tests = Path(__file__).resolve().parents[1] / "broker" / "test_client_faults.py"
    written = Path(__file__).read_text() + client_tests.read_text()

    assert {name for name in told if f"def {name}(" not in written} == set()


def test_every_fault_number_has_a_kind():
    """FAULTS.md counts to 27."""
    assert list(NUMBERS) == list(range(1, 28))
    assert {Stage.CALL, Stage.TRADE, Stage.NOTICE, Stage.REGISTRATION, Stage.INSTANT,
            Stage.OBSERVED} == {kind.stage for kind in KINDS.values()}  # fmt: skip
