"""The worker thread: rate budget, priorities, retries of reads, orders sent once."""

import json
import random
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from scripted_server import ScriptedServer

from trading.broker.rest import Priority, RestTransport
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.errors import (
    AuthenticationError,
    BrokerError,
    ConfigError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
)
from trading.wire import domestic, endpoints
from trading.wire.endpoints import Generation, Profile

NOW = datetime(2024, 1, 5, 0, 0, tzinfo=UTC)
CREDENTIALS = Credentials(
    app_key="key-of-test", app_secret="secret-of-test", account="12345678", hts_id="hts-of-test"
)
OK = {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다.", "output": {}}
# Bodies as recorded in shared/kis/examples/errors.json.
RATE = {"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "초당 거래건수를 초과하였습니다."}
EXPIRED = {"rt_cd": "1", "msg_cd": "EGW00123", "msg1": "기간이 만료된 token 입니다."}
TOO_SOON = {
    "error_description": "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)",
    "error_code": "EGW00133",
}
BAD_KEY = {"error_description": "유효하지 않은 AppKey입니다.", "error_code": "EGW00103"}
NO_CASH = {"rt_cd": "7", "msg_cd": "APBK0952", "msg1": "주문가능금액을 초과 했습니다"}


def token_body(value="token-1", expires="2024-01-06 09:00:00"):
    return {
        "access_token": value,
        "access_token_token_expired": expires,
        "token_type": "Bearer",
        "expires_in": 86400,
    }


def kis_settings(calls=1000, reserve=0, **changes):
    profile = ProfileSettings(
        rest_base="http://127.0.0.1:1",
        ws_base="ws://127.0.0.1:1",
        calls_per_second=calls,
        reserved_for_cancel=reserve,
    )
    return KisSettings(
        profiles={Profile.REAL: profile, Profile.PAPER: profile},
        **{
            "backoff_seconds": 0.01,
            "token_wait_seconds": 0.05,
            "answer_timeout_seconds": 2.0,
            **changes,
        },
    )


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a server with a script and a transport for it."""
    things = []

    def make(script, **changes):
        server = ScriptedServer(script)
        clock = ManualClock(NOW)
        transport = RestTransport(
            kis_settings(**changes),
            profile=Profile.REAL,
            credentials=CREDENTIALS,
            clock=clock,
            cache_dir=tmp_path / "cache",
            rng=random.Random(1),
            base=server.base,
        )
        things.extend((transport, server))
        return transport, server, clock

    yield make
    for thing in things:
        thing.close()


def in_turn(*answers):
    """Answer tokens as asked and other calls from the list, the last one again and again."""
    left = list(answers)

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            return 200, token_body(), {}
        return left.pop(0) if len(left) > 1 else left[0]

    return script


def quote(transport, priority=Priority.QUOTE):
    fields = domestic.symbol_request("005930")
    return transport.start(endpoints.KRX_PRICE, fields, priority=priority)


def order(transport):
    return transport.start(
        endpoints.KRX_ORDER, {"PDNO": "005930"}, priority=Priority.ORDER, variant="buy"
    )


def test_headers_carry_what_kis_asks_for(start):
    """A call carries token, keys and the TR id of its variant and generation."""
    transport, server, _ = start(in_turn((200, OK, {})), order_ids=Generation.OLD)

    order(transport).result(5)

    path, fields, headers = server.requests[-1]
    assert path == "/uapi/domestic-stock/v1/trading/order-cash"
    assert fields == {"PDNO": "005930"}
    assert headers["authorization"] == "Bearer token-1"
    assert headers["tr_id"] == "TTTC0802U"
    assert (headers["appkey"], headers["custtype"]) == ("key-of-test", "P")


@pytest.mark.parametrize("fault", [(500, RATE, {}), (500, {"rt_cd": "1"}, {}), (200, None, {})])
def test_reads_are_repeated(start, fault):
    """A query survives a rate refusal, an empty 500 and a dropped connection."""
    transport, server, _ = start(in_turn(fault, fault, (200, OK, {})))

    assert quote(transport).result(5).body["rt_cd"] == "0"
    assert server.count("inquire-price") == 3


def test_reads_give_up(start):
    """After the configured repetitions a query fails as transient, with the venue's code."""
    transport, server, _ = start(in_turn((500, RATE, {})), read_retries=2)

    with pytest.raises(TransientBrokerError) as error:
        quote(transport).result(5)

    assert error.value.code == "EGW00201"
    assert server.count("inquire-price") == 3


def test_definite_refusal_of_a_read_is_not_repeated(start):
    """A wrong request stays wrong."""
    body = {"rt_cd": "1", "msg_cd": "OPSQ2001", "msg1": "ERROR"}
    transport, server, _ = start(in_turn((200, body, {})))

    with pytest.raises(BrokerError) as error:
        quote(transport).result(5)

    assert (error.value.code, server.count("inquire-price")) == ("OPSQ2001", 1)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        ((200, NO_CASH, {}), OrderRejectedError),
        ((500, RATE, {}), OrderRejectedError),
        ((500, EXPIRED, {}), OrderRejectedError),
        ((200, None, {}), OrderUnknownError),
        ((500, {"rt_cd": "1", "msg_cd": "", "msg1": ""}, {}), OrderUnknownError),
        ((500, {"rt_cd": "1", "msg_cd": "EGW00302", "msg1": ""}, {}), OrderUnknownError),
        ((500, {"rt_cd": "1", "msg_cd": "EGW00001", "msg1": ""}, {}), OrderUnknownError),
        ((500, {"rt_cd": "1", "msg_cd": "XYZ00001", "msg1": ""}, {}), OrderUnknownError),
        ((200, {"rt_cd": "1", "msg_cd": "XYZ00001", "msg1": ""}, {}), OrderRejectedError),
    ],
)
def test_orders_are_sent_once(start, answer, raised):
    """Whatever comes back, an order leaves once; only a definite refusal counts as one."""
    transport, server, _ = start(in_turn(answer))

    with pytest.raises(raised):
        order(transport).result(5)

    assert server.count("order-cash") == 1


def test_slow_order_is_unknown(start):
    """An order that is not answered in time may have been accepted."""
    answered = threading.Event()

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            return 200, token_body(), {}
        answered.wait(5)
        return 200, OK, {}

    transport, server, _ = start(script, answer_timeout_seconds=0.1)

    with pytest.raises(OrderUnknownError):
        order(transport).result(5)
    answered.set()
    assert server.count("order-cash") == 1


def test_voided_token_is_renewed_once(start):
    """A token that the venue voids early is replaced and the query repeated."""
    tokens = iter(("token-1", "token-2"))

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            return 200, token_body(next(tokens)), {}
        is_new = headers["authorization"] == "Bearer token-2"
        return (200, OK, {}) if is_new else (500, EXPIRED, {})

    transport, server, _ = start(script)

    assert quote(transport).result(5).body["rt_cd"] == "0"
    assert (server.count("tokenP"), server.count("inquire-price")) == (2, 2)


def test_second_refusal_of_the_token_stops(start):
    """When the new token is refused too, somebody must look."""
    transport, server, _ = start(in_turn((500, EXPIRED, {})))

    with pytest.raises(AuthenticationError):
        quote(transport).result(5)

    assert server.count("inquire-price") == 2


def test_token_follows_the_venue_clock(start, tmp_path):
    """The token is kept in a private file and renewed before its stated Korean end."""
    transport, server, clock = start(in_turn((200, OK, {})))

    quote(transport).result(5)
    quote(transport).result(5)
    clock.set(NOW + timedelta(hours=23, minutes=29))  # it ends at 24 h, renewed 30 min before
    quote(transport).result(5)
    before = server.count("tokenP")
    clock.set(NOW + timedelta(hours=23, minutes=31))
    quote(transport).result(5)

    assert (before, server.count("tokenP")) == (1, 2)
    files = list((tmp_path / "cache").glob("*.json"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]
    assert "key-of-test" not in files[0].read_text() + files[0].name


def test_token_of_another_process_is_taken(start, tmp_path):
    """While KIS refuses a second token in a minute, the file is looked at again."""
    fresh = {"token": "token-9", "expires_at": (NOW + timedelta(hours=20)).isoformat()}

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            # Another process is given a token just now.
            name = f"kis-token-{CREDENTIALS.fingerprint(server.base)}.json"
            (tmp_path / "cache" / name).write_text(json.dumps(fresh))
            return 403, TOO_SOON, {}
        return 200, OK, {}

    transport, server, _ = start(script)

    quote(transport).result(5)

    assert server.requests[-1][2]["authorization"] == "Bearer token-9"
    assert server.count("tokenP") == 1


def test_a_refused_token_is_not_asked_for_in_a_burst(start, monkeypatch):
    """In the minute KIS wants between two tokens it is asked at the beginning and at the end."""
    monkeypatch.setattr("trading.broker.auth._POLL_SECONDS", 0.02)
    transport, server, _ = start(
        lambda path, fields, headers: (403, TOO_SOON, {}), token_wait_seconds=0.2
    )

    with pytest.raises(BrokerError) as refused:
        quote(transport).result(5)

    assert refused.value.code == "EGW00133"
    assert server.count("tokenP") == 2


def test_no_token_no_order(start):
    """Without a token an order never leaves: that is a definite refusal."""
    transport, server, _ = start(lambda path, fields, headers: (403, BAD_KEY, {}))

    with pytest.raises(OrderRejectedError) as refused:
        order(transport).result(5)
    with pytest.raises(AuthenticationError):
        quote(transport).result(5)

    assert refused.value.code == "EGW00103"
    assert server.count("order-cash") == 0


def test_unreadable_token_file_is_replaced(start, tmp_path):
    """A damaged cache costs a new token, nothing more."""
    transport, server, _ = start(in_turn((200, OK, {})))
    (tmp_path / "cache").mkdir()
    name = f"kis-token-{CREDENTIALS.fingerprint(server.base)}.json"
    (tmp_path / "cache" / name).write_text("{")

    quote(transport).result(5)

    assert server.count("tokenP") == 1


def test_budget_and_priorities(start):
    """Never more calls in a window than allowed, cancels first and from their own reserve."""
    transport, server, _ = start(in_turn((200, OK, {})), calls=4, reserve=1, window_seconds=0.4)
    quote(transport).result(5)  # token and quote: two of the first window

    started = time.monotonic()
    quotes = [quote(transport) for _ in range(5)]
    cancel = transport.start(endpoints.KRX_CHANGE, {}, priority=Priority.CANCEL)
    cancel.result(5)
    cancel_seconds = time.monotonic() - started
    for future in quotes:
        future.result(5)
    whole_seconds = time.monotonic() - started

    order_of_paths = [path.rsplit("/", 1)[1] for path, _, _ in server.requests]
    # One quote may have left before the cancel was queued; the reserve lets the cancel follow.
    assert order_of_paths.index("order-rvsecncl") <= 3
    assert cancel_seconds < 0.3
    assert whole_seconds > 0.4


async def test_pages_to_the_end(start):
    """A listing is read page by page with the keys as they came and ``tr_cont: N``."""

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            return 200, token_body(), {}
        if headers["tr_cont"] == "N":
            assert fields["CTX_AREA_NK100"] == "2".ljust(100)
            return 200, {**OK, "n": 2}, {"tr_cont": "D"}
        keys = {"ctx_area_fk100": "1".ljust(100), "ctx_area_nk100": "2".ljust(100)}
        return 200, {**OK, **keys, "n": 1}, {"tr_cont": "M"}

    transport, _, _ = start(script)
    pages = transport.pages(
        endpoints.KRX_ORDERS,
        lambda page: domestic.orders_request("1234567801", NOW.date(), NOW.date(), page),
    )

    assert [body["n"] async for body in pages] == [1, 2]


@pytest.mark.parametrize("key", ["", "same"])
async def test_broken_paging_is_an_error(start, key):
    """More promised with no key, or the same key twice, is never taken for a whole listing."""
    body = {**OK, "ctx_area_fk100": "", "ctx_area_nk100": key.ljust(100)}
    transport, _, _ = start(in_turn((200, body, {"tr_cont": "F"})))
    pages = transport.pages(
        endpoints.KRX_ORDERS,
        lambda page: domestic.orders_request("1234567801", NOW.date(), NOW.date(), page),
    )

    with pytest.raises(TransientBrokerError):
        async for _ in pages:
            pass


def test_hashkey_and_approval(start):
    """The key services answer without an envelope and need no token."""

    def script(path, fields, headers):
        if path.endswith("hashkey"):
            return 200, {"BODY": fields, "HASH": "ab" * 32}, {}
        if path.endswith("Approval"):
            assert fields["secretkey"] == "secret-of-test"
            return 200, {"approval_key": "uuid-like"}, {}
        raise AssertionError(path)

    transport, server, _ = start(script)

    assert transport.hashkey({"PDNO": "005930"}).result(5).body["HASH"] == "ab" * 32
    assert transport.approval_key().result(5).body["approval_key"] == "uuid-like"
    assert server.count("tokenP") == 0


def test_closed_transport_takes_no_calls(start):
    """After closing, nothing can be queued."""
    transport, _, _ = start(in_turn((200, OK, {})))
    transport.close()

    with pytest.raises(BrokerError):
        quote(transport)


def test_secrets_are_not_shown():
    """``repr`` shows neither keys nor account; a bad account number is a clear error."""
    assert repr(CREDENTIALS) == "Credentials()"
    assert CREDENTIALS.account == "1234567801"
    with pytest.raises(ConfigError):
        Credentials(app_key="a", app_secret="b", account="12-34", hts_id="c")


def test_settings_are_checked():
    """A reserve that leaves no calls and a missing profile are configuration errors."""
    with pytest.raises(ValueError, match="reserved_for_cancel"):
        kis_settings(calls=1, reserve=1)
    with pytest.raises(ValueError, match="profiles"):
        KisSettings(profiles={})
