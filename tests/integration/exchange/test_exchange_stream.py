"""Registrations, prints and notices of the local exchange's WebSocket."""

import json

import pytest
from exchange_client import HTS_ID, Client, Listener
from websockets.exceptions import ConnectionClosed

from trading.domain.instrument import Market
from trading.exchange.hub import NoticeFields
from trading.store.datasets import RecordedSource
from trading.wire import stream

PRINTS, NOTICES = "HDFSCNT0", "H0GSCNI0"


@pytest.fixture
def listener(exchange: Client) -> Listener:
    """Return a listener before the open of 2005-02-25."""
    exchange.open("2005-02-25")
    return exchange.listen()


def test_prints_of_an_instant_come_in_order_of_symbol(exchange: Client, listener: Listener):
    """Whoever was registered first, AAPL comes before MSFT; the count names the last frame."""
    listener.register(PRINTS, "DNASMSFT")
    listener.register(PRINTS, "DNASAAPL")

    place = exchange.step()

    records = [listener.records()[1][0] for _ in range(2)]
    assert [record[1] for record in records] == ["AAPL", "MSFT"]
    assert [record[11] for record in records] == ["89.6200", "25.3500"]
    assert all(len(record) == 26 for record in records)
    assert place["frames"] == {listener.approval_key: 4}


def test_a_daily_bar_prints_four_times(exchange: Client, listener: Listener):
    """Open, low, high, close at four instants; the volumes add up to the recorded one."""
    listener.register(PRINTS, "DNASAAPL")

    places = [exchange.step() for _ in range(4)]

    records = [listener.records()[1][0] for _ in range(4)]
    assert [record[11] for record in records] == ["89.6200", "88.1900", "89.9100", "88.9900"]
    assert sum(int(record[19]) for record in records) == 16_348_400
    assert records[-1][20] == "16348400"
    assert [place["phase"] for place in places] == ["open", "open", "open", "after_close"]


def test_notices_are_encrypted_and_tell_the_life_of_an_order(exchange: Client, listener: Listener):
    """Accepted, filled; accepted, canceled; each in clear only with the keys of the TR."""
    listener.register(NOTICES, HTS_ID)
    exchange.order("buy", "AAPL", 10, "95.00")
    exchange.step()
    number = exchange.order("buy", "AAPL", 10, "50.00")["output"]["ODNO"]
    exchange.change("02", number, "AAPL", 10)

    notices = [stream.parse_notice(NOTICES, listener.records()[1][0]) for _ in range(4)]

    accepted, filled, resting, canceled = notices
    assert (accepted.order_id, accepted.is_fill, accepted.acceptance) == ("0000000001", False, "1")
    assert (filled.is_fill, filled.quantity, filled.price) == (True, 10, 896_200)
    assert filled.order_quantity == 10 and filled.customer == HTS_ID
    assert resting.order_id == number and not resting.is_fill
    assert (canceled.original_order_id, canceled.quantity) == (number, 10)


def test_what_an_auction_does_not_fill_is_told_as_ended(exchange: Client, listener: Listener):
    """A limit on open of 80.00 misses 89.62: acceptance 3 after the open, nothing left."""
    listener.register(NOTICES, HTS_ID)
    path = "/uapi/overseas-stock/v1/trading/order"
    body = {
        **exchange.account,
        "OVRS_EXCG_CD": "NASD",
        "PDNO": "AAPL",
        "ORD_QTY": "3",
        "OVRS_ORD_UNPR": "80.00",
        "ORD_DVSN": "32",
        "ORD_SVR_DVSN_CD": "0",
    }
    exchange.post(path, "TTTT1002U", body)
    exchange.step()

    accepted, ended = (stream.parse_notice(NOTICES, listener.records()[1][0]) for _ in range(2))

    assert (accepted.acceptance, ended.acceptance) == ("1", "3")
    assert (ended.quantity, ended.is_fill, ended.is_refused) == (3, False, False)
    [row] = exchange.orders("20050225", "20050225")
    assert (row["nccs_qty"], row["ft_ccld_qty"]) == ("0", "0")


def test_a_revision_is_notified(exchange: Client, listener: Listener):
    """The notice of a revision names the order it replaces."""
    listener.register(NOTICES, HTS_ID)
    number = exchange.order("buy", "AAPL", 10, "50.00")["output"]["ODNO"]
    exchange.change("01", number, "AAPL", 10, "60.00")

    listener.records()
    notice = stream.parse_notice(NOTICES, listener.records()[1][0])

    assert (notice.kind, notice.original_order_id) == ("revise", number)


@pytest.mark.parametrize(
    ("tr_id", "key", "code"),
    [
        ("H0STCNT0", "005930", "OPSP8991"),
        ("H0GSCNI9", HTS_ID, "OPSP8991"),
        (PRINTS, "DNYSAAPL", "OPSP8992"),
        (PRINTS, "DNASNONE", "OPSP8992"),
    ],
)
def test_what_cannot_be_registered_is_refused(listener: Listener, tr_id: str, key: str, code: str):
    """The other market's TR, the other profile's, another exchange, no such share."""
    reply = listener.register(tr_id, key)

    assert (reply.ok, reply.code, reply.iv) == (False, code, "")


def test_registrations_are_counted_and_undone(exchange: Client, listener: Listener):
    """Twice is refused; undone once is fine, undone twice is not; after that no prints come."""
    codes = [
        listener.register(PRINTS, "DNASAAPL").code,
        listener.register(PRINTS, "DNASAAPL").code,
        listener.register(PRINTS, "DNASAAPL", is_on=False).code,
        listener.register(PRINTS, "DNASAAPL", is_on=False).code,
    ]

    exchange.step()

    assert codes == ["OPSP0000", "OPSP0002", "OPSP0001", "OPSP0003"]
    assert exchange.control("status")["frames"] == {listener.approval_key: 4}


def test_a_book_can_be_registered_though_none_was_recorded(exchange: Client, listener: Listener):
    """It is acknowledged and stays silent."""
    reply = listener.register("HDFSASP0", "DNASAAPL")
    exchange.step()

    assert reply.ok
    assert exchange.control("status")["frames"] == {listener.approval_key: 1}


def test_an_unknown_key_is_told_so(listener: Listener):
    """The reply names the code and the key."""
    listener.approval_key = "nonsense"

    reply = listener.register(PRINTS, "DNASAAPL")

    assert reply.code == "OPSP0011" and "nonsense" in reply.text


def test_an_application_key_has_one_session(exchange: Client, listener: Listener):
    """The second connection is refused and closed; the first goes on."""
    listener.register(PRINTS, "DNASAAPL")
    second = exchange.listen()

    reply = second.register(PRINTS, "DNASAAPL")

    assert reply.code == "OPSP8996"
    with pytest.raises(ConnectionClosed):
        second.receive()
    assert listener.register(PRINTS, "DNASMSFT").ok


def test_a_stranger_gets_nobodys_notices(exchange: Client, listener: Listener):
    """An HTS id belongs to the key that named it first: another one is cut off."""
    listener.register(NOTICES, HTS_ID)
    stranger = Client(exchange.directory, app_key="another-key").listen()
    message = stream.Registration(
        approval_key=stranger.approval_key, is_on=True, tr_id=NOTICES, key=HTS_ID
    )

    stranger.socket.send(stream.registration_message(message))

    with pytest.raises(ConnectionClosed):
        stranger.receive()


def test_who_comes_back_sees_the_present_instant(exchange: Client, listener: Listener):
    """The clock stands at 09:30: the print of 09:30 is sent to a new listener as well."""
    exchange.step()

    listener.register(PRINTS, "DNASAAPL")

    assert listener.records()[1][0][11] == "89.6200"


def test_nonsense_is_answered_and_pongs_are_not(listener: Listener):
    """Broken text gets a code; the echo of a PINGPONG gets nothing."""
    listener.socket.send("nonsense")
    listener.socket.send(json.dumps({"header": {"tr_id": "PINGPONG"}}))
    reply = stream.parse_control(listener.receive())

    assert isinstance(reply, stream.Reply) and reply.code == "OPSP9999"
    assert listener.register(PRINTS, "DNASAAPL").ok


def test_former_notices_for_older_clients(start_exchange):
    """With the switch a notice has the 21 fields of before, and says the same."""
    exchange = start_exchange(notice_fields=NoticeFields.FORMER)
    exchange.open("2005-02-25")
    listener = exchange.listen()
    listener.register(NOTICES, HTS_ID)
    number = exchange.order("buy", "AAPL", 10, "50.00")["output"]["ODNO"]

    record = listener.records()[1][0]
    notice = stream.parse_notice(NOTICES, record)

    assert len(record) == 21
    assert (notice.order_id, notice.quantity, notice.is_fill) == (number, 10, False)


def test_korean_feeds_can_be_registered(start_exchange, shared_data):
    """Books, expected matches, status and indices are acknowledged; what does not exist is not."""
    exchange = start_exchange(market=Market.KRX, history=RecordedSource(shared_data))
    exchange.open("2025-09-10")
    listener = exchange.listen()
    replies = [
        listener.register(tr_id, key).code
        for tr_id, key in (
            ("H0STASP0", "005930"), ("H0STANC0", "005930"), ("H0STMKO0", "005930"),
            ("H0UPCNT0", "0001"), ("H0UPCNT0", "9999"), ("H0STMKO0", "nonsense"),
        )
    ]  # fmt: skip

    assert replies == ["OPSP0000"] * 4 + ["OPSP8992"] * 2
