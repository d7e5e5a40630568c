"""The worker thread: rate budget, priorities, retries of reads, orders sent once."""

import contextlib
import json
import random
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_server import HANG, RESET, TRICKLE, RawServer, http
from scripted_server import ScriptedServer

from trading.broker import rest
from trading.broker.rest import Priority, RestTransport
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.errors import (
    AuthenticationError,
    BrokerError,
    ConfigError,
    OrderNotSentError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
)
from trading.wire import codes, domestic_orders, domestic_quotes, endpoints
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
    fields = domestic_quotes.symbol_request("005930")
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
        ((200, {"rt_cd": "1", "msg_cd": "XYZ00001", "msg1": ""}, {}), OrderUnknownError),
        ((200, {"rt_cd": "7", "msg_cd": "APBK9999", "msg1": "거부"}, {}), OrderRejectedError),
        ((200, {"rt_cd": "1", "msg_cd": "40999999", "msg1": "거부"}, {}), OrderRejectedError),
        ((500, {"rt_cd": "1", "msg_cd": "APBK9999", "msg1": ""}, {}), OrderUnknownError),
        ((200, {"msg_cd": "APBK0952", "msg1": ""}, {}), OrderUnknownError),
        ((200, {"rt_cd": "1", "msg_cd": "APBK0013", "msg1": ""}, {}), OrderUnknownError),
        ((500, OK, {}), OrderUnknownError),
        ((500, {"rt_cd": "1", "msg_cd": "EGW00215", "msg1": ""}, {}), OrderRejectedError),
        ((200, {"rt_cd": "1", "msg_cd": "", "msg1": ""}, {}), OrderUnknownError),
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


PAGE = b"<html><body>\xec\xa0\x90\xea\xb2\x80</body></html>"
ORDER_OK = b'{"rt_cd":"0","msg_cd":"APBK0013","msg1":"","output":{"ODNO":"0000000001"}}'
BROKEN = {
    "closed": None,
    "reset": RESET,
    "no answer": HANG,
    "nothing but a header": b"HTTP/1.1 200 OK\r\n",
    "not http": b"\x00\x01\x02\r\n\r\n",
    "truncated": http(200, ORDER_OK[:20], length=len(ORDER_OK)),
    "invalid json": http(200, ORDER_OK[:-2]),
    "deep json": http(200, b"[" * 100_000),
    "a list": http(200, b"[]"),
    "html": http(200, PAGE, content_type="text/html"),
    "html 500": http(500, PAGE),
    "html 502": http(502, PAGE),
    "empty": http(200, b""),
    "empty 500": http(500, b""),
    "empty 503": http(503, b"", retry_after="1"),
    "no content": b"HTTP/1.1 204 X\r\n\r\n",
    "not utf-8": http(200, b'{"rt_cd": "\xff\xfe"}'),
    "bad gzip": http(200, b"xx", content_encoding="gzip"),
    "redirect": http(307, b"", location="/uapi/elsewhere/order-cash"),
    "no rt_cd": http(200, b"{}"),
    "numbers": http(200, b'{"rt_cd": 1, "msg_cd": 7, "msg1": null}'),
    "maintenance": http(500, b'{"rt_cd":"1","msg_cd":"","msg1":""}'),
    "unknown code": http(200, b'{"rt_cd":"1","msg_cd":"ZZZ00001","msg1":""}'),
}


@pytest.fixture
def raw(tmp_path):
    """Return a function that starts a server of bytes and a transport for it."""
    things = []

    def make(reply, *, close_after=False, **changes):
        tokens = http(200, json.dumps(token_body()).encode())
        server = RawServer(
            lambda path: tokens if path.endswith("tokenP") else reply(path), close_after=close_after
        )
        transport = RestTransport(
            kis_settings(**{"answer_timeout_seconds": 0.3, **changes}),
            profile=Profile.REAL,
            credentials=CREDENTIALS,
            clock=ManualClock(NOW),
            cache_dir=tmp_path / "cache",
            rng=random.Random(1),
            base=server.base,
        )
        things.extend((transport, server))
        return transport, server

    yield make
    for thing in things:
        with contextlib.suppress(OSError):
            thing.close()


CALLS = {
    "buy": (endpoints.KRX_ORDER, Priority.ORDER, "buy"),
    "sell abroad": (endpoints.US_ORDER, Priority.ORDER, "sell"),
    "cancel": (endpoints.KRX_CHANGE, Priority.CANCEL, ""),
    "cancel abroad": (endpoints.US_CHANGE, Priority.CANCEL, ""),
    "revise": (endpoints.KRX_CHANGE, Priority.ORDER, ""),
    "reserve": (endpoints.KRX_RESERVE, Priority.ORDER, ""),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_broken_answer_to_an_order_is_never_followed_by_another_order(raw, call, answer):
    """One request leaves, nothing is redirected, and what became of it is said to be unknown."""
    endpoint, priority, variant = call
    transport, server = raw(lambda path: answer)

    with pytest.raises(OrderUnknownError):
        transport.start(endpoint, {"PDNO": "005930"}, priority=priority, variant=variant).result(9)

    assert [path for path in server.paths if not path.endswith("tokenP")] == [endpoint.path]


def test_an_answer_that_trickles_in_is_not_waited_for(raw):
    """Each byte comes in time, the answer does not: the order is unknown, the cancel goes next."""
    slow, quick = TRICKLE + http(200, ORDER_OK), http(200, ORDER_OK)
    transport, server = raw(lambda path: slow if path.endswith("order-cash") else quick)
    order = transport.start(
        endpoints.KRX_ORDER, {"PDNO": "005930"}, priority=Priority.ORDER, variant="buy"
    )
    cancel = transport.start(endpoints.KRX_CHANGE, {"PDNO": "005930"}, priority=Priority.CANCEL)

    with pytest.raises(OrderUnknownError):
        order.result(3)
    assert cancel.result(3).body["output"]["ODNO"] == "0000000001"
    assert server.count("order-cash") == 1


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_to_a_query_is_a_passing_fault(raw, answer):
    """A query is asked again a few times and fails as transient; the worker lives on."""
    answers = iter((answer, answer))
    good = http(200, json.dumps(OK).encode())
    transport, _ = raw(lambda path: next(answers, good), read_retries=1)

    if answer in (BROKEN["unknown code"], BROKEN["numbers"]):
        with pytest.raises(BrokerError, match=r"ZZZ00001|7"):
            quote(transport).result(9)
        next(answers)
    else:
        with pytest.raises(TransientBrokerError):
            quote(transport).result(9)

    assert quote(transport).result(9).body["rt_cd"] == "0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(["rt_cd", "msg_cd", "msg1", "error_code", "error_description", "output"]),
    st.sampled_from(["0", "1", "7", "", *codes.CODES, "APBK9999", "EGW99999", "token"]) | JSON,
)


@given(body=ENVELOPES, status=st.sampled_from([200, 201, 302, 400, 401, 403, 404, 429, 500, 503]))
def test_only_what_is_certain_counts_as_refused(body, status):
    """No answer whatever makes an order refused unless the venue itself says no, by a known code."""
    result = codes.outcome(body)
    known = codes.lookup(result.code, result.text)

    error = rest._order_error(status, result, known.retry, rest._message(status, result, known))

    says_no = "error_code" in body or str(body.get("rt_cd")).strip() not in ("None", "", "0")
    if isinstance(error, OrderRejectedError):
        assert says_no
        assert result.code in codes.CODES or (status == 200 and result.code == "APBK9999")
        assert known.retry is not codes.Retry.VERIFY
    else:
        assert isinstance(error, OrderUnknownError)


def test_an_order_that_could_not_be_sent_is_refused(raw):
    """Where nobody listens nothing can have been accepted."""
    transport, server = raw(
        lambda path: http(200, json.dumps(OK).encode()), idle_connection_seconds=1e-9
    )
    quote(transport).result(5)  # the token is there
    server.close()

    with pytest.raises(OrderRejectedError, match="나가지 않음"):
        order(transport).result(5)


def test_a_connection_closed_while_idle_does_not_swallow_an_order(raw):
    """The venue ends idle connections without a word: the order takes a new one, once."""
    transport, server = raw(lambda path: http(200, ORDER_OK), close_after=True)
    # The token comes with a query, which may be repeated.
    quote(transport).result(5)
    before = server.connections
    assert all(server.closed.acquire(timeout=5) for _ in range(before))
    for _ in range(5):
        assert order(transport).result(5).body["msg_cd"] == "APBK0013"
        assert server.closed.acquire(timeout=5)

    assert (server.count("order-cash"), server.connections - before) == (5, 5)


def test_a_connection_that_was_idle_for_long_is_not_used(raw):
    """Whether it still leads anywhere nobody knows."""
    transport, server = raw(lambda path: http(200, ORDER_OK), idle_connection_seconds=1e-9)

    for _ in range(3):
        order(transport).result(5)

    assert server.connections == 4  # the token and each order


def test_a_query_waits_as_long_as_the_venue_asks(raw):
    """``Retry-After`` is heeded, up to the longest pause."""
    answers = iter((http(503, b"{}", retry_after="30"),))
    good = http(200, json.dumps(OK).encode())
    transport, _ = raw(lambda path: next(answers, good), backoff_max_seconds=0.3)

    started = time.monotonic()
    quote(transport).result(5)

    assert time.monotonic() - started >= 0.3


def test_maintenance_is_said(raw):
    """A reply that says nothing becomes a sentence."""
    transport, _ = raw(lambda path: BROKEN["maintenance"], read_retries=0)

    with pytest.raises(TransientBrokerError, match="점검"):
        quote(transport).result(5)


def test_odd_words_about_the_token_renew_it(start):
    """After maintenance KIS speaks of the token without its own codes (FAULTS 3)."""
    odd = {"rt_cd": "1", "msg_cd": "EGW09999", "msg1": "접근토큰이 올바르지 않습니다"}
    transport, server, _ = start(in_turn((500, odd, {}), (200, OK, {})))

    assert quote(transport).result(5).body["rt_cd"] == "0"
    assert server.count("tokenP") == 2


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
    fresh = {
        "token": "token-9",
        "expires_at": (NOW + timedelta(hours=20)).isoformat(),
        "renew_at": (NOW + timedelta(hours=19)).isoformat(),
        "asked_at": NOW.isoformat(),
        "asked_monotonic": 0.0,
    }

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


def test_an_order_does_not_wait_a_minute_for_a_token(start):
    """It is given back at once, to be looked at again before it leaves; a query and a cancel wait."""
    transport, server, _ = start(
        lambda path, fields, headers: (403, TOO_SOON, {}), token_wait_seconds=60.0
    )

    with pytest.raises(OrderNotSentError, match="접근토큰"):
        order(transport).result(2)
    waiting = [quote(transport, Priority.CANCEL), quote(transport)]

    for one in waiting:
        with pytest.raises(TimeoutError):
            one.result(0.1)
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


def test_a_query_behind_many_orders_is_let_by(start):
    """Orders go first, yet a query gets one call in each stretch of patience."""
    transport, server, _ = start(
        in_turn((200, OK, {})), calls=5, window_seconds=0.1, patience_seconds=0.2
    )
    quote(transport).result(5)

    orders = [order(transport) for _ in range(60)]
    quotes = [quote(transport) for _ in range(3)]
    for future in [*orders, *quotes]:
        future.result(9)

    kinds = [path.rsplit("/", 1)[1] for path, _, _ in server.requests]
    places = [i for i, kind in enumerate(kinds) if kind == "inquire-price"][1:]
    assert len(places) == 3
    assert places[0] < 30 and places[1] < 45  # of 62, and never two together
    assert places[1] - places[0] > 2


def test_a_busy_ledger_slows_the_ledger_alone(start):
    """EGW00215 holds balances back for a window; prices go on meanwhile (PROTOCOL 4)."""
    busy = {"rt_cd": "1", "msg_cd": "EGW00215", "msg1": ""}
    seen = []

    def script(path, fields, headers):
        if path.endswith("tokenP"):
            return 200, token_body(), {}
        seen.append(path.rsplit("/", 1)[1])
        return (500, busy, {}) if seen.count("inquire-balance") == 1 and path.endswith(
            "inquire-balance"
        ) else (200, OK, {})  # fmt: skip

    transport, _, _ = start(script, window_seconds=0.3)
    balance = transport.start(endpoints.KRX_BALANCE, {}, priority=Priority.BALANCE)
    while "inquire-balance" not in seen:
        time.sleep(0.001)
    started = time.monotonic()
    for _ in range(5):
        quote(transport).result(5)
    quotes_seconds = time.monotonic() - started
    balance.result(5)

    assert quotes_seconds < 0.2 <= time.monotonic() - started
    assert seen == ["inquire-balance", *["inquire-price"] * 5, "inquire-balance"]
    assert transport.rate_refusals == 1


def test_keys_for_the_stream_are_asked_for_once_a_second(start):
    """The key service takes one call a second, whatever the budget; prices do not wait for it."""
    transport, _, _ = start(
        lambda path, fields, headers: (
            (200, {"approval_key": "k"}, {})
            if path.endswith("Approval")
            else in_turn((200, OK, {}))(path, fields, headers)
        ),
        window_seconds=0.3,
    )
    quote(transport).result(5)

    started = time.monotonic()
    keys = [transport.approval_key() for _ in range(3)]
    quote(transport).result(5)
    quote_seconds = time.monotonic() - started
    for key in keys:
        key.result(5)

    assert quote_seconds < 0.3
    assert time.monotonic() - started >= 0.6


def test_a_new_customer_has_three_calls():
    """In the first days KIS allows three calls a second on real accounts, none fewer on paper."""
    settings = kis_settings(calls=18, reserve=2, new_customer=True)

    assert settings.budget(Profile.REAL) == (3, 1)
    assert settings.budget(Profile.PAPER) == (18, 2)
    assert kis_settings(calls=18, reserve=2).budget(Profile.REAL) == (18, 2)


def test_closing_ends_a_query_between_two_tries(start):
    """A query that waits for its repetition fails with the others (its future runs already)."""
    transport, server, _ = start(in_turn((500, {"rt_cd": "1"}, {})), backoff_seconds=30.0)
    future = quote(transport)
    while server.count("inquire-price") < 1 or not transport._waiting:
        time.sleep(0.005)
    transport.close()

    with pytest.raises(TransientBrokerError):
        future.result(1)


@pytest.mark.parametrize("place", ["take", "__init__"])
def test_a_worker_that_cannot_go_on_leaves_nobody_waiting(start, monkeypatch, place):
    """While the shared files fail every caller is told that nothing left; then all goes on."""
    transport, server, _ = start(in_turn((200, OK, {})))
    quote(transport).result(5)

    def broken(*words, **more):
        raise OSError("디스크 오류")

    with monkeypatch.context() as failing:
        failing.setattr(rest.RateWindow, "take", broken)
        with pytest.raises(TransientBrokerError, match="공간"):
            quote(transport).result(5)
        failing.setattr(rest.RateWindow, place, broken)
        with pytest.raises(OrderNotSentError, match="공간"):
            order(transport).result(5)

    assert server.count("order-cash") == 0
    assert order(transport).result(5).body == OK
    assert server.count("order-cash") == 1


def test_closing_waits_for_nobody(start):
    """A transport that waits for its minute to pass closes at once, and says so to its callers."""
    transport, _, _ = start(
        lambda path, fields, headers: (403, TOO_SOON, {}), token_wait_seconds=60.0
    )
    future = quote(transport)
    started = time.monotonic()
    while not transport._tokens._known.asked_at:
        time.sleep(0.01)
    transport.close()

    with pytest.raises(TransientBrokerError):
        future.result(1)
    assert time.monotonic() - started < 5.0


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
        lambda page: domestic_orders.orders_request("1234567801", NOW.date(), NOW.date(), page),
    )

    assert [body["n"] async for body in pages] == ["1", "2"]


@pytest.mark.parametrize("key", ["", "same"])
async def test_broken_paging_is_an_error(start, key):
    """More promised with no key, or the same key twice, is never taken for a whole listing."""
    body = {**OK, "ctx_area_fk100": "", "ctx_area_nk100": key.ljust(100)}
    transport, _, _ = start(in_turn((200, body, {"tr_cont": "F"})))
    pages = transport.pages(
        endpoints.KRX_ORDERS,
        lambda page: domestic_orders.orders_request("1234567801", NOW.date(), NOW.date(), page),
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
