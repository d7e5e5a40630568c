"""What goes wrong before and around an order: the right sentence, exit code and ledger.

The program runs as a user runs it, in a process of its own, against a local exchange.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from filelock import FileLock
from program import Answer, trading
from venue_home import KEYS, SESSION, Venue, home_of

from trading.broker.client import KisClient
from trading.broker.settings import Credentials
from trading.clock import WallClock
from trading.config import load_settings
from trading.domain.instrument import Market
from trading.domain.order import OrderIntent, OrderType, Side
from trading.errors import OrderRejectedError, UsageError
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile

FINE, FINDING, USAGE, FAILURE = 0, 1, 2, 3
PAPER_KEYS = frozenset(
    {KEYS["KIS_PAPER_APP_KEY"], "another-key-of-test"}  # nobody else may come in
)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Return an exchange of the paper profile that knows two application keys."""
    running = Venue(tmp_path_factory.mktemp("exchange"), known_keys=PAPER_KEYS)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def real_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Return an exchange of the real profile."""
    running = Venue(tmp_path_factory.mktemp("real"), profile=Profile.REAL)
    yield running
    running.stop()


def today_is(day: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calendar in which today is as a test needs it, whatever day it is run."""
    today = datetime.now(ZoneInfo(Market.US.timezone_name)).date()
    return {
        "markets/us": {
            "calendar_overrides": [{"date": today, "source": "the test of today", **day}]
        }
    }


OPEN_TODAY = today_is({"open": "09:30", "close": "16:00"})
CLOSED_TODAY = today_is({"closed": True})


def run_paper(home: Path, *more: str, **keys: str) -> Answer:
    """Run today's session on paper."""
    return trading(home, "run", "--env", "paper", *more, **{**KEYS, **keys})


def intents(home: Path) -> int:
    """Return how many intents the paper ledger holds; none where there is no ledger."""
    path = home / "data" / "ledger" / "paper-us.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        return int(
            db.execute("SELECT count(*) FROM journal WHERE kind IN ('intent', 'fill')").fetchone()[
                0
            ]
        )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"KIS_PAPER_APP_KEY": "nobodys-key"}, "유효하지 않은 AppKey입니다. [EGW00103]"),
        ({"KIS_PAPER_APP_SECRET": "not-the-secret"}, "유효하지 않은 AppSecret입니다. [EGW00105]"),
    ],
)
def test_bad_keys(venue: Venue, tmp_path: Path, keys: dict[str, str], sentence: str) -> None:
    """A wrong key or secret ends the run with the venue's words and what to do."""
    body = {
        "grant_type": "client_credentials",
        "appkey": KEYS["KIS_PAPER_APP_KEY"],
        "appsecret": KEYS["KIS_PAPER_APP_SECRET"],
    }
    venue.http.post("/oauth2/tokenP", json=body)  # the right secret is known
    home = home_of(tmp_path / "home", venue.base, venue.ws_base, OPEN_TODAY)

    answer = run_paper(home, "--no-prefect", **keys)

    assert (answer.code, answer.out) == (FAILURE, "")
    assert sentence in answer.err
    assert "환경 변수를 KIS Developers에서 받은 값으로" in answer.err
    assert all(secret not in answer.err for secret in keys.values())
    assert intents(home) == 0


def test_a_dead_token_is_replaced(venue: Venue, tmp_path: Path) -> None:
    """A token that the venue voided early (maintenance) costs one renewal and no finding."""
    home = home_of(tmp_path / "home", venue.base, venue.ws_base, OPEN_TODAY)
    credentials = _credentials()
    folder = home / "data" / "broker"
    folder.mkdir(parents=True)
    path = folder / f"kis-token-{credentials.fingerprint(venue.base)}.json"
    dead = {"token": "dead-token", "asked_at": None, "asked_monotonic": 0.0}
    later = dict.fromkeys(("expires_at", "renew_at"), "2099-01-01T00:00:00+00:00")
    path.write_text(json.dumps(dead | later))

    answer = trading(home, "check", "--env", "paper", "--json", **KEYS)

    found = {f["code"]: f["severity"] for f in answer.json["findings"]}
    assert (found["KIS_TOKEN"], found["KIS_BALANCE"]) == ("ok", "ok")
    assert json.loads(path.read_text())["token"] != "dead-token"
    assert "dead-token" not in answer.err


def test_a_malformed_account_number(tmp_path: Path) -> None:
    """An account number that cannot be one is a mistake of the configuration."""
    home = home_of(tmp_path / "home", "http://127.0.0.1:1", "ws://127.0.0.1:1", OPEN_TODAY)

    answer = run_paper(home, "--no-prefect", KIS_PAPER_ACCOUNT="1234-5")

    assert answer.code == USAGE
    assert "계좌번호는 숫자 10자리" in answer.err
    assert intents(home) == 0


def test_an_account_of_somebody_else(venue: Venue, tmp_path: Path) -> None:
    """Another customer's account is refused by the venue, and the run ends before anything."""
    mine = home_of(tmp_path / "mine", venue.base, venue.ws_base, OPEN_TODAY)
    trading(mine, "check", "--env", "paper", **{**KEYS, "KIS_PAPER_ACCOUNT": "59990000"})
    home = home_of(tmp_path / "home", venue.base, venue.ws_base, OPEN_TODAY)
    account = {"KIS_PAPER_ACCOUNT": "59990000", "KIS_PAPER_APP_KEY": "another-key-of-test"}

    answer = run_paper(home, "--no-prefect", **account)

    assert answer.code == FAILURE
    assert "[OPSQ2000]" in answer.err
    assert "계좌번호 환경 변수" in answer.err
    assert intents(home) == 0


def test_a_paper_account_at_the_real_address(real_venue: Venue, tmp_path: Path) -> None:
    """Mixed up addresses are told apart from other faults (EGW02004)."""
    home = home_of(tmp_path / "home", real_venue.base, real_venue.ws_base, OPEN_TODAY)

    answer = run_paper(home, "--no-prefect")

    assert answer.code == FAILURE
    assert "[EGW02004]" in answer.err
    assert "config/kis.yaml의 주소" in answer.err
    assert intents(home) == 0


@pytest.mark.slow
def test_a_holiday(venue: Venue, tmp_path: Path) -> None:
    """On a day without a session nobody is asked for anything."""
    home = home_of(tmp_path / "home", venue.base, venue.ws_base, CLOSED_TODAY)

    answer = run_paper(home)

    assert answer.code == FINDING
    assert "미국 시장의 거래일이 아닙니다" in answer.err
    assert not (home / "data" / "broker").exists()
    assert intents(home) == 0


def test_no_network_at_the_start(tmp_path: Path) -> None:
    """Without a connection the run ends after a few tries and says where to look."""
    home = home_of(tmp_path / "home", "http://127.0.0.1:1", "ws://127.0.0.1:1", OPEN_TODAY)

    answer = run_paper(home)

    assert answer.code == FAILURE
    assert (
        "증권사에 연결하지 못함: 네트워크와 config/kis.yaml의 주소" in answer.err.splitlines()[-1]
    )
    kept = json.loads((home / "logs" / "errors.jsonl").read_text("utf-8").splitlines()[-1])
    assert "TransientBrokerError" in kept["error"]
    assert "Traceback" in kept["stack"]
    assert intents(home) == 0


def test_a_second_instance(venue: Venue, tmp_path: Path) -> None:
    """Who comes second for the same account does nothing, and says why."""
    home = home_of(tmp_path / "home", venue.base, venue.ws_base, OPEN_TODAY)
    lock = home / "data" / "run" / "paper-us.lock"
    lock.parent.mkdir(parents=True)

    with FileLock(lock):
        answer = run_paper(home, "--no-prefect")
        checked = trading(home, "check", "--env", "paper", "--json", **KEYS)

    stream = next(f for f in checked.json["findings"] if f["code"] == "KIS_STREAM")
    assert answer.code == FINDING
    assert "다른 실행이 이 계좌로 거래하는 중입니다" in answer.err
    # Looking at the account is allowed; its one connection is left to the run that trades.
    assert stream["severity"] == "info"
    assert intents(home) == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("profiles:\n  real: [\n", "kis.yaml"),
        ("profiles: {}\n", "profiles"),
        ("surprise: 1\n", "surprise"),
    ],
)
def test_a_broken_configuration(tmp_path: Path, text: str, sentence: str) -> None:
    """A file that cannot be read as meant stops the program before it does anything."""
    home = home_of(tmp_path / "home", "http://127.0.0.1:1", "ws://127.0.0.1:1")
    path = home / "config" / "kis.yaml"
    path.write_text(text if "surprise" not in text else path.read_text() + text)

    answer = run_paper(home)

    assert answer.code == USAGE
    assert sentence in answer.err
    assert "Traceback" not in answer.err
    assert intents(home) == 0


def test_the_wrong_environment(tmp_path: Path) -> None:
    """``--env`` may narrow what the configuration says, never widen it."""
    home = home_of(tmp_path / "home", "http://127.0.0.1:1", "ws://127.0.0.1:1", OPEN_TODAY)

    answer = trading(home, "run", "--env", "real", **KEYS)

    assert answer.code == USAGE
    assert "env를 real로 바꿔야 합니다" in answer.err


# --- the control door ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-control-token": "guess"},
        {"x-control-token": "é".encode("latin-1")},
        {"x-control-token": "TOKEN", "origin": "https://evil.example"},
        {"x-control-token": "TOKEN", "origin": "null"},
        {"x-control-token": "TOKEN", "sec-fetch-site": "cross-site"},
        {"x-control-token": "TOKEN", "host": "evil.example"},
        {"x-control-token": "TOKEN", "host": "127.0.0.1.evil.example:80"},
        {"x-control-token": "TOKEN", "host": ""},
    ],
    ids=lambda headers: " ".join(headers) or "nothing",
)
@pytest.mark.parametrize("what", ["session", "advance", "faults"])
def test_a_foreign_page_at_the_control_door(
    venue: Venue, headers: dict[str, Any], what: str
) -> None:
    """Without the token, from a web page, or under a foreign name: 403, and nothing moves."""
    sent = {k: venue.token if v == "TOKEN" else v for k, v in headers.items()}
    before = _place(venue)

    answer = httpx.post(
        f"{venue.base}/control/{what}", json={"session": "2005-02-28"}, headers=sent
    )

    assert answer.status_code == 403
    assert _place(venue) == before


def _place(venue: Venue) -> dict[str, Any]:
    headers = {"x-control-token": venue.token, "host": "localhost:1"}
    return dict(httpx.get(f"{venue.base}/control/status", headers=headers).json())


def test_a_browser_gets_no_leave_to_send_the_token(venue: Venue) -> None:
    """The question that a browser asks first is not answered with a yes."""
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}

    answer = httpx.options(f"{venue.base}/control/session", headers=asked)

    assert answer.status_code >= 400
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- orders ----------------------------------------------------------------------------------


def _credentials(profile: str = "PAPER") -> Credentials:
    return Credentials(
        app_key=KEYS[f"KIS_{profile}_APP_KEY"],
        app_secret=KEYS[f"KIS_{profile}_APP_SECRET"],
        account=KEYS[f"KIS_{profile}_ACCOUNT"],
        hts_id=KEYS["KIS_HTS_ID"],
    )


@pytest.fixture
async def client(real_venue: Venue, tmp_path: Path) -> Any:
    """Return a client of a real account."""
    home = home_of(tmp_path / "home", real_venue.base, real_venue.ws_base)
    made = KisClient(
        load_settings(home).kis,
        profile=Profile.REAL,
        market=Market.US,
        instruments={i.symbol: i for i in EmbeddedSource().instruments(Market.US)},
        credentials=_credentials("REAL"),
        clock=WallClock(),
        # Shared by these tests: the exchange gives one token a minute.
        cache_dir=tmp_path.parent / "broker",
    )
    yield made
    await made.close()


IBM = OrderIntent(
    intent_id="one",
    session=date.fromisoformat(SESSION),
    boundary="open",
    symbol="IBM",
    exchange=next(i.exchange for i in EmbeddedSource().instruments(Market.US) if i.symbol == "IBM"),
    side=Side.BUY,
    quantity=1,
    limit=900_000,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 1.5},
        {"quantity": 0},
        {"quantity": -1},
        {"limit": 90.5},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.AFTER_HOURS_CLOSE},
        {"order_type": OrderType.MARKET_OPEN},
    ],
    ids=str,
)
async def test_an_order_that_cannot_be_is_not_sent(
    client: KisClient, real_venue: Venue, changes: dict[str, Any]
) -> None:
    """Fractions, nothing, and kinds that the market does not know stop before the wire."""
    with pytest.raises(UsageError) as refused:
        await client.submit(replace(IBM, **changes))

    assert any("가" <= letter <= "힣" for letter in str(refused.value))
    assert client.call_counts == (0, 0)
    assert real_venue.journal("order") == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"side": Side.SELL}, "APBK0400"),
        ({"quantity": 1_000_000}, "APBK0952"),
        ({"limit": 900_001}, "APBK0918"),  # a price between two cents
        ({"symbol": "NOPE"}, "APBK0656"),
    ],
    ids=["sell more than held", "buy more than paid for", "off the grid", "no such share"],
)
async def test_an_order_that_the_venue_refuses(
    client: KisClient, real_venue: Venue, changes: dict[str, Any], code: str
) -> None:
    """What only the venue can know is refused there, for good, and no order stands."""
    with pytest.raises(OrderRejectedError) as refused:
        await client.submit(replace(IBM, **changes))

    assert refused.value.code == code
    assert real_venue.journal("order") == []


async def test_an_order_to_a_closed_market(client: KisClient, real_venue: Venue) -> None:
    """After the close the venue says so; the order is refused, not unknown."""
    while (
        real_venue.control("advance", until="2005-02-25T23:59:00+00:00")["phase"] != "after_close"
    ):
        pass
    try:
        with pytest.raises(OrderRejectedError) as refused:
            await client.submit(IBM)
    finally:
        real_venue.control("session", session="2005-02-28")

    assert refused.value.code == "APBK0918"
    assert real_venue.journal("order") == []


def test_the_shipped_addresses_are_those_of_kis() -> None:
    """What the tests redirect is the shipped file's."""
    shipped = yaml.safe_load((Path(__file__).parents[2] / "config" / "kis.yaml").read_text())

    assert shipped["profiles"]["real"]["rest_base"] == "https://openapi.koreainvestment.com:9443"
    assert (
        shipped["profiles"]["paper"]["rest_base"] == "https://openapivts.koreainvestment.com:29443"
    )
