"""The exchange as a process: one loopback port for REST, WebSocket and the control door.

What the calls do is in ``domestic`` and ``overseas``; this module lets them in and carries
their answers out.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from trading.domain.instrument import Market
from trading.domain.rules import MarketRules
from trading.errors import SchemaError, TradingError, UsageError
from trading.exchange.control import Control
from trading.exchange.desk import Call
from trading.exchange.domestic import DomesticDesk
from trading.exchange.elsewhere import Elsewhere
from trading.exchange.faults import FaultSchedule, Injector
from trading.exchange.faulty_calls import FaultyCalls
from trading.exchange.faulty_market import FaultyMarket
from trading.exchange.gate import ISSUE_PAUSE_SECONDS, Denied, Gate, gateway_denied
from trading.exchange.hub import Hub, NoticeFields
from trading.exchange.journal import Journal
from trading.exchange.overseas import OverseasDesk
from trading.exchange.refusals import OrderRefused
from trading.exchange.venue import Event, Venue
from trading.exchange.zeros import with_zeros
from trading.log import get_logger
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.wire import auth, codes
from trading.wire.auth import RequestHead
from trading.wire.endpoints import APPROVAL, BY_PATH, HASHKEY, REVOKE, TOKEN, Endpoint, Profile

log = get_logger(__name__)

HOST = "127.0.0.1"
PORT_FILE = "port.json"
JOURNAL_FILE = "journal.db"
# PROTOCOL 4: the limits of 2026-04-20.
CALLS_PER_SECOND = {Profile.REAL: 18, Profile.PAPER: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """How one exchange runs.

    ``directory`` holds its journal and port file; ``starting_cash`` (minor units) is what an
    account begins with at first use; ``participation_bps`` is the share of each print that an
    account may take. ``speed`` ``None`` is lock-step, else wall clock × speed, beginning with
    ``start`` when nothing was replayed yet. ``port`` 0 takes any free one. ``calls_per_second``
    and ``issue_pause_seconds`` are KIS's own limits unless given. Any application key may come in
    unless ``known_keys`` names those that may.
    """

    market: Market
    directory: Path
    starting_cash: int
    participation_bps: int
    profile: Profile = Profile.REAL
    speed: float | None = None
    start: date | None = None
    port: int = 0
    calls_per_second: int | None = None
    issue_pause_seconds: float = ISSUE_PAUSE_SECONDS
    known_keys: frozenset[str] = frozenset()
    faults: FaultSchedule | None = None
    notice_fields: NoticeFields = NoticeFields.CURRENT


class ExchangeServer:
    """The local exchange over HTTP and WebSocket; ``run`` serves until ``stop``."""

    def __init__(
        self,
        source: BarSource,
        rules: MarketRules,
        calendar: SessionCalendar,
        options: ExchangeOptions,
        *,
        journal: Journal | None = None,
    ) -> None:
        self.options = options
        self._journal = journal or Journal(options.directory / JOURNAL_FILE)
        self._gate = Gate(
            self._journal,
            calls_per_second=options.calls_per_second or CALLS_PER_SECOND[options.profile],
            issue_pause_seconds=options.issue_pause_seconds,
            known_keys=options.known_keys,
        )
        self._injector = Injector(options.faults, self._journal)
        self._hub = Hub(
            self._gate, options.market, options.profile, self._injector, options.notice_fields
        )
        self.venue = Venue(
            source=source,
            rules=rules,
            calendar=calendar,
            journal=self._journal,
            market=options.market,
            profile=options.profile,
            starting_cash=options.starting_cash,
            participation_bps=options.participation_bps,
            publish=lambda events: self._publish(events),
        )
        self._faulty = FaultyCalls(self._injector, self._gate, self._hub, self.venue)
        desk = DomesticDesk if options.market is Market.KRX else OverseasDesk
        self._services = {
            **Elsewhere(self.venue, options.profile).services,
            **desk(self.venue, options.profile).services,
        }
        self._control = Control(
            self.venue,
            self._hub,
            speed=options.speed,
            start=options.start,
            lived=FaultyMarket(self._injector, self.venue).live,
        )
        self._server: uvicorn.Server | None = None

    def _publish(self, events: Sequence[Event]) -> None:
        self._faulty.publish(events)

    @property
    def port_file(self) -> Path:
        """Where the address and the control token are written while the exchange listens."""
        return self.options.directory / PORT_FILE

    async def run(self) -> None:
        """Serve until ``stop`` or a signal; ``UsageError`` when the port is taken."""
        listening = _listen(self.options.port)
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app(),
            http=_Protocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _AnnouncedServer(config, lambda: self._announce(port))
        driver = asyncio.create_task(self._drive())
        try:
            await self._server.serve(sockets=[listening])
            driver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await driver
        finally:
            driver.cancel()
            self.port_file.unlink(missing_ok=True)
            listening.close()
            self._journal.close()

    async def _drive(self) -> None:
        try:
            await self._control.drive()
        except Exception:
            # A venue whose clock stands still answers as if nothing were wrong; ``run`` raises it.
            log.exception("거래소의 시간이 멈춰 종료")
            self.stop()
            raise

    def stop(self) -> None:
        """Ask ``run`` to return; may be called from another thread."""
        if self._server is not None:
            self._server.should_exit = True

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/control/status", self._controlled, methods=["GET"]),
                Route("/control/session", self._controlled, methods=["POST"]),
                Route("/control/advance", self._controlled, methods=["POST"]),
                Route("/control/copy", self._controlled, methods=["POST"]),
                Route("/control/faults", self._controlled, methods=["GET", "POST"]),
                Route("/{path:path}", self._rest, methods=["GET", "POST"]),
                # The path of the WebSocket does not select data (PROTOCOL 1).
                WebSocketRoute("/{path:path}", self._websocket),
            ]
        )

    # -- KIS -----------------------------------------------------------------------------

    async def _rest(self, request: Request) -> Response:
        # Some clients join paths with a double slash (PROTOCOL 16).
        path = "/" + request.url.path.lstrip("/").replace("//", "/")
        endpoint = BY_PATH.get(path)
        if endpoint is None or endpoint.method != request.method:
            return _json(404, codes.refusal("MCA00124"))
        head = auth.parse_request_headers(request.headers)
        try:
            params = await _params(request)
            return await self._faulty.answer(endpoint, head, params, self._serve)
        except Denied as denied:
            return _json(denied.status, denied.body)
        except sqlite3.Error:
            # What is in memory is no longer what is on disk: only a restart makes it so again.
            log.exception("거래소 기록 실패로 종료")
            self.stop()
            return _json(500, codes.refusal("EGW00002"))

    def _serve(self, endpoint: Endpoint, head: RequestHead, params: Mapping[str, Any]) -> Response:
        self._control.touch()
        try:
            if endpoint in (TOKEN, REVOKE, APPROVAL):
                return _json(200, self._oauth(endpoint, params))
            return self._service(endpoint, head, params)
        except Denied as denied:
            return _json(denied.status, denied.body)
        except OrderRefused as refused:
            log.info("주문 거부", path=endpoint.path, reason=str(refused))
            return _json(200, refused.body(self.options.profile), tr_id=head.tr_id)
        except SchemaError as error:
            return _json(200, codes.refusal("OPSQ2001", f"ERROR : {error}"))
        except TradingError as error:
            return _json(200, codes.refusal("APBK0918", str(error)))

    def _oauth(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Mapping[str, Any]:
        now = self.venue.now
        if endpoint is TOKEN:
            return self._gate.issue_token(params, now)
        if endpoint is REVOKE:
            return self._gate.revoke_token(params)
        return self._gate.issue_approval(params, now)

    def _service(
        self, endpoint: Endpoint, head: RequestHead, params: Mapping[str, Any]
    ) -> Response:
        if endpoint is HASHKEY:
            self._gate.count_call(self._gate.check_credentials(head))
            return _json(200, auth.render_hashkey(params))
        owner = self._gate.check_token(head, self.venue.now)
        self._gate.count_call(owner)
        variant = self._variant(endpoint, head.tr_id)
        service = self._services.get(endpoint.name)
        if service is None:
            # The other market's calls: this venue has no such service.
            raise Denied(200, codes.refusal("MCA00124"))
        answer = service(
            Call(
                endpoint=endpoint,
                variant=variant,
                params=params,
                owner=owner,
                is_next_page=head.is_next_page,
            )
        )
        body = with_zeros(endpoint.name, answer.body)
        return _json(200, body, tr_id=head.tr_id, has_next=answer.has_next)

    def _variant(self, endpoint: Endpoint, tr_id: str) -> str:
        profile = self.options.profile
        variant = endpoint.variant(profile, tr_id)
        if variant is not None:
            return variant
        if profile is Profile.PAPER and tr_id.startswith("V"):
            # A paper id in form that paper does not have, such as VTTT1006U (PROTOCOL 10.1).
            raise Denied(200, codes.refusal("90000000"))
        if profile is Profile.PAPER and not endpoint.is_offered(profile):
            raise gateway_denied("EGW02006")
        other = Profile.PAPER if profile is Profile.REAL else Profile.REAL
        if endpoint.variant(other, tr_id) is not None:
            raise gateway_denied("EGW02004" if profile is Profile.REAL else "EGW02006")
        raise Denied(200, codes.refusal("OPSQ0002"))

    async def _websocket(self, websocket: WebSocket) -> None:
        await self._hub.serve(websocket, self.venue)

    # -- control door --------------------------------------------------------------------

    async def _controlled(self, request: Request) -> Response:
        if not self._control.allows(request.headers):
            return _json(403, {"error": "제어 토큰이 없거나 다른 곳에서 온 요청"})
        try:
            if request.url.path == "/control/status":
                self._control.touch()
                return _json(200, self._control.status())
            if request.url.path == "/control/faults":
                return _json(200, await self._fault_counts(request))
            if request.url.path == "/control/copy":
                return _json(200, {"copy": str(self._journal.copy())})
            body = await _params(request)
            if request.url.path == "/control/session":
                return _json(200, self._control.open_session(body))
            return _json(200, self._control.advance(body))
        except Denied:
            return _json(409, {"error": "요청이 JSON 객체가 아님"})
        except TradingError as error:
            return _json(409, {"error": str(error)})
        except sqlite3.Error:
            log.exception("거래소 기록 실패로 종료")
            self.stop()
            return _json(500, {"error": "거래소 기록 실패"})

    async def _fault_counts(self, request: Request) -> Mapping[str, Any]:
        if request.method == "POST":
            specs = (await _params(request)).get("faults")
            if not isinstance(specs, list) or not all(isinstance(one, dict) for one in specs):
                raise UsageError("faults에 장애 항목의 목록을 적으십시오")
            self._injector.add(specs)
        return {**self._injector.counts(), "pending": self._injector.pending()}

    def _announce(self, port: int) -> None:
        options = self.options
        text = json.dumps(
            {
                "host": HOST,
                "rest_port": port,
                "ws_port": port,
                "pid": os.getpid(),
                "token": self._control.token,
                "market": options.market.value,
                "profile": options.profile.value,
            }
        )
        fresh = self.port_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(self.port_file)
        log.info(
            "거래소 시작",
            port=port,
            market=options.market.value,
            profile=options.profile.value,
            speed=options.speed,
        )


def serve(
    source: BarSource,
    rules: MarketRules,
    calendar: SessionCalendar,
    options: ExchangeOptions,
) -> None:
    """Run an exchange in this process until it is stopped."""
    # A port that is taken is known before anything is written.
    _listen(options.port).close()
    asyncio.run(ExchangeServer(source, rules, calendar, options).run())


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP that lets an answer end its own connection: see ``faulty_calls.Cut``."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class _AnnouncedServer(uvicorn.Server):
    """A server that says so once it listens."""

    def __init__(self, config: uvicorn.Config, announce: Any) -> None:
        super().__init__(config)
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on a signal, and let ``run`` tidy up.

        The library's own version raises the signal once more afterwards, which would end the
        process before its port file is gone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's delay off: 40 ms an answer otherwise.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"{port}번 포트를 쓸 수 없음: 다른 프로그램이 쓰고 있으면 --port로 바꾸십시오"
        ) from error
    return listening


async def _params(request: Request) -> Mapping[str, Any]:
    if request.method == "GET":
        return dict(request.query_params)
    try:
        body = json.loads(await request.body() or b"{}")
    except ClientDisconnect as error:
        # A client that was killed in the middle of its request: nobody hears the answer.
        raise Denied(400, codes.refusal("EGW00101")) from error
    except ValueError as error:
        raise Denied(200, codes.refusal("OPSQ9997", "JSON 형식 오류")) from error
    if not isinstance(body, dict):
        raise Denied(200, codes.refusal("OPSQ9997", "JSON 형식 오류"))
    return body


def _json(
    status: int, body: Mapping[str, Any], *, tr_id: str = "", has_next: bool | None = None
) -> Response:
    return JSONResponse(
        body, status_code=status, headers=auth.response_headers(tr_id=tr_id, has_next_page=has_next)
    )
