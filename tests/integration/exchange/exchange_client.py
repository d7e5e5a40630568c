"""A KIS client as small as can be, for talking to the local exchange over real sockets."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from trading.wire import stream

ACCOUNT = {"CANO": "12345678", "ACNT_PRDT_CD": "01"}
APP_KEY, APP_SECRET = "demo-app-key", "demo-app-secret"
HTS_ID = "trader1"


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

    account = ACCOUNT

    def __init__(self, directory: Path | None = None, app_key: str = APP_KEY) -> None:
        self.app_key = app_key
        self.token = ""
        self.stop: Callable[[], None] = lambda: None
        if directory is not None:
            self.reach(directory)

    def reach(self, directory: Path) -> None:
        """Read where the exchange of ``directory`` listens."""
        self.directory = directory
        self.port = json.loads((directory / "port.json").read_text())
        self.base = f"http://{self.port['host']}:{self.port['rest_port']}"
        self.http = httpx.Client(base_url=self.base, timeout=30)

    def login(self) -> dict[str, Any]:
        """Take an access token."""
        body = {
            "grant_type": "client_credentials",
            "appkey": self.app_key,
            "appsecret": APP_SECRET,
        }
        answer = self.http.post("/oauth2/tokenP", json=body)
        self.token = answer.json().get("access_token", self.token)
        return {"status": answer.status_code, **answer.json()}

    def headers(self, tr_id: str, **more: str) -> dict[str, str]:
        """Return the headers of a call."""
        return {
            "authorization": f"Bearer {self.token}",
            "appkey": self.app_key,
            "appsecret": APP_SECRET,
            "tr_id": tr_id,
            **more,
        }

    def get(self, path: str, tr_id: str, params: dict[str, str], **headers: str) -> httpx.Response:
        """Make a query, patiently."""
        return self._paced(
            lambda: self.http.get(path, params=params, headers=self.headers(tr_id, **headers))
        )

    def post(self, path: str, tr_id: str, body: dict[str, str]) -> httpx.Response:
        """Make an order or a change, patiently."""
        return self._paced(lambda: self.http.post(path, json=body, headers=self.headers(tr_id)))

    def _paced(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """Repeat a call while the venue refuses it as one too many of its second."""
        while True:
            answer = call()
            if answer.status_code != 500 or answer.json().get("msg_cd") != "EGW00201":
                return answer
            threading.Event().wait(0.05)

    def order(
        self, side: str, symbol: str, quantity: int, price: str, *, tr_id: str = ""
    ) -> dict[str, Any]:
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
        tr_id = tr_id or {"buy": "TTTT1002U", "sell": "TTTT1006U"}[side]
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
        return self.post("/uapi/overseas-stock/v1/trading/order-rvsecncl", "TTTT1004U", body).json()

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

    def step(self) -> dict[str, Any]:
        """Live one instant."""
        return self.control("advance", until="2100-01-01T00:00:00+00:00")

    def finish(self) -> dict[str, Any]:
        """Live the rest of the session."""
        while True:
            place = self.step()
            if place["phase"] == "after_close":
                return place

    def listen(self) -> Listener:
        """Connect a WebSocket with a key of its own."""
        body = {
            "grant_type": "client_credentials",
            "appkey": self.app_key,
            "secretkey": APP_SECRET,
        }
        key = self.http.post("/oauth2/Approval", json=body).json()["approval_key"]
        return self.connect(key)

    def connect(self, approval_key: str) -> Listener:
        """Connect a WebSocket with a known key."""
        url = f"ws://{self.port['host']}:{self.port['ws_port']}/tryitout"
        return Listener(connect(url), approval_key)
