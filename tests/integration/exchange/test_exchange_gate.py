"""Keys, tokens, limits, TR ids and the control door of the local exchange."""

from collections.abc import Callable
from datetime import date

import httpx
import pytest
from exchange_client import APP_SECRET, Client

from trading.wire.endpoints import Profile

PRICE = "/uapi/overseas-price/v1/quotations/price"
AAPL = {"AUTH": "", "EXCD": "NAS", "SYMB": "AAPL"}


def raw(client: Client, tr_id: str = "HHDFS00000300", **headers: str) -> httpx.Response:
    """Ask for a price without patience."""
    return client.http.get(PRICE, params=AAPL, headers={**client.headers(tr_id), **headers})


def test_a_token_lives_a_day_of_the_venue(exchange: Client):
    """The next session begins a day later by the venue's clock: the old token is dead."""
    exchange.open("2005-02-25")
    good = raw(exchange).json()["rt_cd"]
    exchange.finish()
    exchange.control("session", session="2005-02-28")

    answer = raw(exchange)

    assert good == "0"
    assert answer.status_code == 500 and answer.json()["msg_cd"] == "EGW00123"


def test_a_second_token_within_a_minute_is_refused(exchange: Client):
    """Once a minute, although it would be the same token."""
    exchange.open("2005-02-25")

    answer = exchange.login()

    assert answer["status"] == 403 and answer["error_code"] == "EGW00133"


def test_within_six_hours_the_same_token_comes_back(exchange: Client):
    """Hours later by the venue's clock the token is the same, and expires when it did."""
    exchange.open("2005-02-25")
    first = exchange.token
    exchange.control("advance", until="2005-02-25T14:30:00+00:00")
    exchange.control("advance", until="2005-02-25T16:00:00+00:00")

    again = exchange.login()

    assert again["access_token"] == first and again["token_type"] == "Bearer"
    assert again["access_token_token_expired"] == "2005-02-26 23:00:00"
    assert again["expires_in"] == 22 * 3600


def test_a_revoked_token_is_dead(exchange: Client):
    """Revoking answers 200; afterwards the token is invalid, and revoking it again too."""
    exchange.open("2005-02-25")
    body = {"appkey": exchange.app_key, "appsecret": APP_SECRET, "token": exchange.token}

    revoked = exchange.http.post("/oauth2/revokeP", json=body)

    assert revoked.json()["code"] == 200
    assert raw(exchange).json()["msg_cd"] == "EGW00121"
    again = exchange.http.post("/oauth2/revokeP", json=body)
    assert (again.status_code, again.json()["error_code"]) == (403, "EGW00121")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"grant_type": "client_credentials", "appsecret": "x"}, "EGW00103"),
        ({"grant_type": "client_credentials", "appkey": "x"}, "EGW00105"),
        ({"appkey": "x", "appsecret": "y"}, "EGW00115"),
        ({"grant_type": "password", "appkey": "x", "appsecret": "y"}, "EGW00116"),
        (
            {"grant_type": "client_credentials", "appkey": "demo-app-key", "appsecret": "wrong"},
            "EGW00105",
        ),
    ],
)
def test_bad_credentials_get_no_token(exchange: Client, body: dict[str, str], code: str):
    """Each fault has its code, with HTTP 403."""
    exchange.open("2005-02-25")

    answer = exchange.http.post("/oauth2/tokenP", json=body)

    assert (answer.status_code, answer.json()["error_code"]) == (403, code)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, "EGW00121"),
        ({"authorization": "Bearer nonsense"}, "EGW00121"),
        ({"appkey": ""}, "EGW00102"),
        ({"appsecret": ""}, "EGW00104"),
        ({"appkey": "unknown"}, "EGW00103"),
        ({"appsecret": "wrong"}, "EGW00105"),
    ],
)
def test_a_call_needs_token_key_and_secret(exchange: Client, headers: dict[str, str], code: str):
    """The gateway refuses with HTTP 500 and its code."""
    exchange.open("2005-02-25")

    answer = raw(exchange, **headers)

    assert (answer.status_code, answer.json()["msg_cd"]) == (500, code)


def test_the_nineteenth_call_of_a_second_is_refused(exchange: Client):
    """18 calls pass in a sliding second, the next does not; a second later it does."""
    exchange.open("2005-02-25")

    codes = [raw(exchange).json()["msg_cd"] for _ in range(19)]

    assert codes.count("MCA00000") == 18 and codes[-1] == "EGW00201"
    assert exchange.get(PRICE, "HHDFS00000300", AAPL).json()["rt_cd"] == "0"


def test_paper_allows_one_call_a_second_and_fewer_services(start_exchange: Callable[..., Client]):
    """The paper profile: one call a second, paper TR ids only, no price detail."""
    client = start_exchange(profile=Profile.PAPER)
    client.open("2005-02-25")

    first, second = raw(client), raw(client)

    assert first.json()["rt_cd"] == "0"
    assert second.json()["msg_cd"] == "EGW00201"
    detail = client.get(
        "/uapi/overseas-price/v1/quotations/price-detail", "HHDFS76200200", AAPL
    ).json()
    assert detail["msg_cd"] == "EGW02006"
    order = client.order("buy", "AAPL", 1, "90.00")
    assert order["msg_cd"] == "EGW02006"  # TTTT1002U is no paper id


def test_paper_takes_no_us_order_before_the_open(start_exchange: Callable[..., Client]):
    """40570000 before the open, 40600000 after it, in the words of the paper server."""
    client = start_exchange(profile=Profile.PAPER)
    client.open("2005-02-25")
    early = client.order("buy", "AAPL", 1, "95.00", tr_id="VTTT1002U")
    client.step()
    taken = client.order("buy", "AAPL", 1, "95.00", tr_id="VTTT1002U")
    poor = client.order("buy", "AAPL", 5000, "95.00", tr_id="VTTT1002U")

    assert early["msg_cd"] == "40570000"
    assert taken["msg_cd"] == "40600000"
    assert poor["msg_cd"] == "40250000" and poor["msg1"].startswith("모의투자")


def test_tr_ids_are_checked(exchange: Client):
    """Paper ids on the real server, and ids of nothing at all."""
    exchange.open("2005-02-25")
    path = "/uapi/overseas-stock/v1/trading/inquire-balance"

    paper = exchange.get(path, "VTTS3012R", {})
    unknown = exchange.get(path, "XXXX", {})

    assert (paper.status_code, paper.json()["msg_cd"]) == (500, "EGW02004")
    assert unknown.json()["msg_cd"] == "OPSQ0002"


def test_double_slashes_and_lower_case_names_are_understood(exchange: Client):
    """Some clients join paths badly and write names as they like."""
    exchange.open("2005-02-25")
    headers = exchange.headers("HHDFS00000300")

    answer = exchange.http.get(
        f"{exchange.base}/{PRICE}",
        params={"auth": "", "excd": "NAS", "symb": "AAPL"},
        headers=headers,
    )

    assert answer.json()["output"]["rsym"] == "DNASAAPL"
    names = [name for name, _ in answer.headers.raw]
    assert all(name == name.lower() for name in names)


def test_what_is_missing_or_unknown_is_said(exchange: Client):
    """A missing field, the other market's service, an unknown path, broken JSON."""
    exchange.open("2005-02-25")
    headers = exchange.headers("TTTT1002U")
    order = "/uapi/overseas-stock/v1/trading/order"

    missing = exchange.get(PRICE, "HHDFS00000300", {"AUTH": ""}).json()
    korean = exchange.get(
        "/uapi/domestic-stock/v1/quotations/inquire-price", "FHKST01010100", {}
    ).json()
    unknown = exchange.http.get("/uapi/nothing/here", headers=headers)
    broken = exchange.http.post(order, content=b"{", headers=headers).json()
    listed = exchange.http.post(order, content=b"[1]", headers=headers).json()

    assert missing["msg_cd"] == "OPSQ2001" and "EXCD" in missing["msg1"]
    assert korean["msg_cd"] == "MCA00124"
    assert (unknown.status_code, unknown.json()["msg_cd"]) == (404, "MCA00124")
    assert broken["msg_cd"] == listed["msg_cd"] == "OPSQ9997"


def test_a_hashkey_has_64_digits(exchange: Client):
    """The same body has the same hash; the key alone is asked for, no token."""
    exchange.open("2005-02-25")
    headers = {"appkey": exchange.app_key, "appsecret": APP_SECRET}

    answers = [
        exchange.http.post("/uapi/hashkey", json={"A": "1"}, headers=headers).json()
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert answers[0]["BODY"] == {"A": "1"} and len(answers[0]["HASH"]) == 64


def test_the_control_door_needs_its_token(exchange: Client):
    """Without the token of the port file nothing is told and nothing moves."""
    answer = exchange.http.get("/control/status")
    headers = {"x-control-token": exchange.port["token"]}
    nonsense = exchange.http.post("/control/session", content=b"x", headers=headers)

    assert answer.status_code == 403
    assert nonsense.status_code == 409


def test_sessions_open_in_order_and_once(exchange: Client):
    """The same session again changes nothing; holidays and past days are refused in Korean."""
    assert exchange.control("advance", until="2005-02-25T15:00:00+00:00")["status"] == 409
    first = exchange.open("2005-02-25")

    again = exchange.control("session", session="2005-02-25")
    refused = [
        exchange.control("session", session=day)
        for day in ("2005-02-26", "2005-02-24", "2005-02-28", "someday", "2013-05-01")
    ]

    assert again == first
    assert first["phase"] == "pre_open" and first["now"] == "2005-02-25T14:00:00+00:00"
    assert all(answer["status"] == 409 and answer["error"] for answer in refused)
    assert exchange.control("advance", until="yesterday")["status"] == 409
    assert exchange.control("advance", until="2005-02-25T15:00:00")["status"] == 409


def test_status_tells_what_is_replayed(exchange: Client):
    """Market, profile, mode, and what cannot be traded."""
    exchange.open("2005-02-25")

    status = exchange.control("status")

    assert (status["market"], status["profile"], status["mode"]) == ("us", "real", "lock-step")
    assert (status["instruments"], status["recorded"], status["untradable"]) == (5, 4, {})


def test_the_port_file_is_private_and_goes_away(exchange: Client):
    """Only its owner may read the token; a clean stop removes the file."""
    file = exchange.directory / "port.json"
    mode = file.stat().st_mode & 0o777

    exchange.stop()

    assert mode == 0o600
    assert not file.exists()


def test_a_taken_port_and_a_taken_name_are_said(start_exchange: Callable[..., Client]):
    """Neither the port nor the journal of a running exchange can be had twice."""
    from trading.errors import UsageError
    from trading.exchange.journal import Journal
    from trading.exchange.server import _listen

    client = start_exchange()

    with pytest.raises(UsageError, match="포트"):
        _listen(client.port["rest_port"])
    with pytest.raises(UsageError, match="이미 실행 중"):
        Journal(client.directory / "journal.db")


def test_the_wall_clock_drives_a_session_to_its_end(start_exchange: Callable[..., Client]):
    """At 50,000 times the speed the day passes by itself, and the next one begins."""
    client = start_exchange(speed=50_000.0, start=date(2005, 2, 24))

    refused = client.control("advance", until="2005-02-24T15:00:00+00:00")
    while client.control("status")["session"] == "2005-02-24":
        pass

    assert refused["status"] == 409
    status = client.control("status")
    assert status["mode"] == "wall-clock" and status["session"] == "2005-02-25"
