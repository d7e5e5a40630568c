"""A local exchange over real sockets, replaying the embedded US history."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.exchange.server import ExchangeOptions, ExchangeServer
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource
from trading.wire import stream
from trading.wire.endpoints import Profile

ACCOUNT = {"CANO": "12345678", "ACNT_PRDT_CD": "01"}
APP_KEY, APP_SECRET = "demo-app-key", "demo-app-secret"
HTS_ID = "trader1"
STARTING_CASH = 1_000_000_000  # 100,000 USD


@dataclass
class Listener:
    """A WebSocket client that keeps the keys of each TR and reads notices in clear."""

    socket: ClientConnection
    approval_key: str
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    def register(self, tr_id: str, key: str, *, is_on: bool = True) -> stream.Reply:
        """Register (or no longer) and return the venue's reply."""
        message = stream.Registration(
            approval_key=self.approval_key, is_on=is_on, tr_id=tr_id, key=key
        )
        self.socket.send(stream.registration_message(message))
        reply = stream.parse_control(self.receive())
        assert isinstance(reply, stream.Reply)
        if reply.ok and reply.iv:
            self.keys[tr_id] = (reply.iv, reply.secret)
        return reply

    def receive(self) -> str:
        """Return the next text; a silent venue fails the test."""
        return str(self.socket.recv(timeout=5))

    def records(self) -> tuple[str, list[list[str]]]:
        """Return the TR and the records of the next data frame, decrypted."""
        frame = stream.parse_frame(self.receive())
        payload = frame.payload
        if frame.encrypted:
            iv, secret = self.keys[frame.tr_id]
            payload = stream.decrypt(payload, iv=iv, secret=secret)
        return frame.tr_id, stream.records_of(frame.tr_id, frame.count, payload)


class Client:
    """What any KIS client does, over HTTP; and the control door beside it."""

    def __init__(self, directory: Path) -> None:
        port = json.loads((directory / "port.json").read_text())
        self.port = port
        self.base = f"http://{port['host']}:{port['rest_port']}"
        self.http = httpx.Client(base_url=self.base, timeout=30)
        self.token = ""

    def login(self) -> dict[str, Any]:
        """Take an access token."""
        body = {
            "grant_type": "client_credentials",
            "appkey": APP_KEY,
            "appsecret": APP_SECRET,
        }
        answer = self.http.post("/oauth2/tokenP", json=body)
        self.token = answer.json().get("access_token", self.token)
        return {"status": answer.status_code, **answer.json()}

    def headers(self, tr_id: str, **more: str) -> dict[str, str]:
        """Return the headers of a call."""
        return {
            "authorization": f"Bearer {self.token}",
            "appkey": APP_KEY,
            "appsecret": APP_SECRET,
            "tr_id": tr_id,
            **more,
        }

    def get(self, path: str, tr_id: str, params: dict[str, str], **headers: str) -> httpx.Response:
        """Make a query."""
        return self.http.get(path, params=params, headers=self.headers(tr_id, **headers))

    def post(self, path: str, tr_id: str, body: dict[str, str]) -> httpx.Response:
        """Make an order or a change."""
        return self.http.post(path, json=body, headers=self.headers(tr_id))

    def order(self, side: str, symbol: str, quantity: int, price: str) -> dict[str, Any]:
        """Place a US order and return the whole answer."""
        body = {
            **ACCOUNT,
            "OVRS_EXCG_CD": "NYSE" if symbol == "IBM" else "NASD",
            "PDNO": symbol,
            "ORD_QTY": str(quantity),
            "OVRS_ORD_UNPR": price,
            "ORD_DVSN": "00",
            "ORD_SVR_DVSN_CD": "0",
        }
        tr_id = {"buy": "TTTT1002U", "sell": "TTTT1006U"}[side]
        return dict(self.post("/uapi/overseas-stock/v1/trading/order", tr_id, body).json())

    def change(self, code: str, number: str, symbol: str, quantity: int, price: str = "0") -> Any:
        """Cancel (``02``) or revise (``01``) a US order."""
        body = {
            **ACCOUNT,
            "OVRS_EXCG_CD": "NASD",
            "PDNO": symbol,
            "ORGN_ODNO": number,
            "RVSE_CNCL_DVSN_CD": code,
            "ORD_QTY": str(quantity),
            "OVRS_ORD_UNPR": price,
        }
        return self.post(
            "/uapi/overseas-stock/v1/trading/order-rvsecncl", "TTTT1004U", body
        ).json()

    def orders(self, first: str, last: str) -> list[dict[str, str]]:
        """Return all rows of the order listing, page by page."""
        rows: list[dict[str, str]] = []
        keys = {"CTX_AREA_FK200": "", "CTX_AREA_NK200": ""}
        more: dict[str, str] = {}
        while True:
            params = {
                **ACCOUNT,
                "PDNO": "%",
                "ORD_STRT_DT": first,
                "ORD_END_DT": last,
                "SLL_BUY_DVSN": "00",
                "CCLD_NCCS_DVSN": "00",
                "OVRS_EXCG_CD": "NASD",
                "SORT_SQN": "DS",
                "ORD_DT": "",
                "ORD_GNO_BRNO": "",
                "ODNO": "",
                **keys,
            }
            answer = self.get(
                "/uapi/overseas-stock/v1/trading/inquire-ccnl", "TTTS3035R", params, **more
            )
            body = answer.json()
            rows += body["output"]
            if answer.headers["tr_cont"] != "M":
                return rows
            keys = {
                "CTX_AREA_FK200": body["ctx_area_fk200"],
                "CTX_AREA_NK200": body["ctx_area_nk200"],
            }
            more = {"tr_cont": "N"}

    def holdings(self) -> dict[str, dict[str, str]]:
        """Return holdings by symbol."""
        params = {
            **ACCOUNT,
            "OVRS_EXCG_CD": "NASD",
            "TR_CRCY_CD": "USD",
            "CTX_AREA_FK200": "",
            "CTX_AREA_NK200": "",
        }
        body = self.get(
            "/uapi/overseas-stock/v1/trading/inquire-balance", "TTTS3012R", params
        ).json()
        return {row["ovrs_pdno"]: row for row in body["output1"]}

    def cash(self) -> dict[str, str]:
        """Return the dollar row of the present balance."""
        params = {
            **ACCOUNT,
            "WCRC_FRCR_DVSN_CD": "02",
            "NATN_CD": "840",
            "TR_MKET_CD": "00",
            "INQR_DVSN_CD": "00",
        }
        path = "/uapi/overseas-stock/v1/trading/inquire-present-balance"
        return dict(self.get(path, "CTRP6504R", params).json()["output2"][0])

    def control(self, what: str, **body: str) -> dict[str, Any]:
        """Use the control door."""
        headers = {"x-control-token": self.port["token"]}
        if what == "status":
            answer = self.http.get("/control/status", headers=headers)
        else:
            answer = self.http.post(f"/control/{what}", json=body, headers=headers)
        return {"status": answer.status_code, **answer.json()}

    def open(self, session: str) -> dict[str, Any]:
        """Open a session and take a token of that day."""
        place = self.control("session", session=session)
        self.login()
        return place

    def advance(self, until: str) -> dict[str, Any]:
        """Live one instant."""
        return self.control("advance", until=until)

    def finish(self, session: date) -> dict[str, Any]:
        """Live the whole session."""
        until = f"{session.isoformat()}T23:59:00+00:00"
        while True:
            place = self.advance(until)
            if place["phase"] == "closed" or datetime.fromisoformat(
                place["now"]
            ) >= datetime.fromisoformat(until):
                return place

    def listen(self) -> Listener:
        """Connect a WebSocket with a key of its own."""
        body = {
            "grant_type": "client_credentials",
            "appkey": APP_KEY,
            "secretkey": APP_SECRET,
        }
        key = self.http.post("/oauth2/Approval", json=body).json()["approval_key"]
        url = f"ws://{self.port['host']}:{self.port['ws_port']}/tryitout"
        return Listener(connect(url), key)


@dataclass
class Running:
    """An exchange in a thread of this process."""

    server: ExchangeServer
    thread: threading.Thread

    def stop(self) -> None:
        """Stop it as an operator would."""
        self.server.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


@pytest.fixture(scope="session")
def source() -> EmbeddedSource:
    """Return the embedded US history."""
    return EmbeddedSource()


@pytest.fixture
def start_exchange(tmp_path: Path, source: EmbeddedSource) -> Iterator[Callable[..., Client]]:
    """Return a function that starts an exchange and logs a client in."""
    running: list[Running] = []

    def start(
        *,
        profile: Profile = Profile.REAL,
        speed: float | None = None,
        start: date | None = None,
        name: str = "demo-us",
    ) -> Client:
        rules = shipped_rules(Market.US)
        server = ExchangeServer(
            source,
            rules,
            SessionCalendar(Market.US, rules),
            ExchangeOptions(
                market=Market.US,
                directory=tmp_path / name,
                starting_cash=STARTING_CASH,
                participation_bps=1000,
                profile=profile,
                speed=speed,
                start=start,
            ),
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.run()), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.port_file.exists():
            assert thread.is_alive() and time.monotonic() < deadline, "거래소가 시작되지 않음"
            threading.Event().wait(0.01)
        running.append(Running(server, thread))
        return Client(tmp_path / name)

    start.running = running  # type: ignore[attr-defined]
    yield start
    for one in running:
        if one.thread.is_alive():
            one.stop()


@pytest.fixture
def exchange(start_exchange: Callable[..., Client]) -> Client:
    """Return a client of a fresh exchange of the real profile in lock-step."""
    return start_exchange()
