"""The Korean desk under requests that no client of ours would send."""

import json
import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import TradingError
from trading.exchange.desk import Call
from trading.exchange.domestic import DomesticDesk
from trading.exchange.gate import Denied
from trading.exchange.journal import Journal
from trading.exchange.refusals import OrderRefused
from trading.exchange.venue import Phase, Venue
from trading.sessions import SessionCalendar
from trading.store.datasets import RecordedSource
from trading.wire.endpoints import BY_PATH, Generation, Profile

DAY = date(2024, 1, 15)
KOREAN = [endpoint for endpoint in BY_PATH.values() if endpoint.name.startswith("krx_")]
VALID = {
    "CANO": "12345678", "ACNT_PRDT_CD": "01", "PDNO": "005930", "FID_INPUT_ISCD": "005930",
    "FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_DATE_1": "20240102", "FID_INPUT_DATE_2": "20240115",
    "INQR_STRT_DT": "20240102", "INQR_END_DT": "20240115", "FID_INPUT_HOUR_1": "100000",
    "FID_ORG_ADJ_PRC": "0", "FID_PERIOD_DIV_CODE": "D", "ORD_DVSN": "00", "ORD_QTY": "1",
    "ORD_UNPR": "72000", "EXCG_ID_DVSN_CD": "KRX", "SLL_BUY_DVSN_CD": "02", "ORD_DVSN_CD": "00",
    "ORD_OBJT_CBLC_DVSN_CD": "10", "RSVN_ORD_ORD_DT": "20240115", "RSVN_ORD_END_DT": "20240116",
    "RSVN_ORD_SEQ": "1", "ORGN_ODNO": "0000000001", "RVSE_CNCL_DVSN_CD": "02",
    "QTY_ALL_ORD_YN": "Y", "CCLD_DVSN": "00", "PRDT_TYPE_CD": "300", "BASS_DT": "20240101",
}  # fmt: skip
JUNK = (
    "", "0", "1", "000660", "999999", "0001", "20240112", "00000000", "20241399", "99991231",
    "250000", "W", "X", "22", "99", "ALL", "NXT", "-1", "1.5", "70000", "1e5", "NaN", "Infinity",
    "９", "²", "가", " ", "5 000", "12345678901234567890", None, True, 7, 3.5, ["a"], {"b": 1}, "N",
)  # fmt: skip


@pytest.fixture
def venue(shared_data: Path, tmp_path: Path) -> Iterator[Venue]:
    """Return a Korean venue without a server around it."""
    rules = shipped_rules(Market.KRX)
    journal = Journal(tmp_path / "journal.db")
    yield Venue(
        source=RecordedSource(shared_data),
        rules=rules,
        calendar=SessionCalendar(Market.KRX, rules),
        journal=journal,
        market=Market.KRX,
        profile=Profile.REAL,
        starting_cash=100_000_000,
        participation_bps=1000,
        publish=lambda events: None,
    )
    journal.close()


def test_any_request_is_answered_or_refused(venue, shared_data):
    """Junk in any field of any call, at any time of the day, is an answer or one of KIS's noes."""
    path = shared_data.parent / "kis" / "fields.json"
    if not path.is_file():
        pytest.skip(f"기록된 KIS 자료가 없어 건너뜀: {path}")
    table = {call["path"]: call for call in json.loads(path.read_text(encoding="utf-8"))["rest"]}
    desk, rng = DomesticDesk(venue, Profile.REAL), random.Random(20240115)

    def ask(rounds: int) -> None:
        for endpoint in KOREAN * rounds:
            names = [name for name, _, _ in table[endpoint.path]["request"]]
            params = {name: VALID.get(name, "") for name in names if rng.random() > 0.03}
            for name in params:
                if rng.random() < 0.2:
                    params[name] = rng.choice(JUNK)
            call = Call(
                endpoint=endpoint,
                variant=rng.choice(list(endpoint.real)),
                params=params,
                owner="key",
                is_next_page=rng.random() < 0.3,
            )
            try:
                answer = desk.services[endpoint.name](call)
            except (Denied, OrderRefused, TradingError):
                continue
            assert json.loads(json.dumps(answer.body))["rt_cd"] == "0"

    ask(3)
    venue.open_session(DAY)
    ask(5)
    while venue.phase is not Phase.OPEN:
        venue.step(venue.next_instant())
    ask(15)
    while venue.phase is not Phase.CLOSED:
        venue.step(venue.next_instant())
    ask(5)


def test_old_and_new_ids_are_known():
    """Every TR id of both generations says which call and which side it means."""
    for endpoint in KOREAN:
        for profile in Profile:
            for variant in endpoint.real if endpoint.is_offered(profile) else ():
                for generation in Generation:
                    tr_id = endpoint.tr_id(profile, variant, generation)
                    assert endpoint.variant(profile, tr_id) == variant
