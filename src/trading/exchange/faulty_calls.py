"""What faults do to REST calls: before the venue hears of them, or to its answer."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from trading.domain.order import Side
from trading.errors import TradingError
from trading.exchange.faults import Fault, Injector
from trading.exchange.gate import Gate
from trading.exchange.hub import Hub
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.venue import Event, NoticeKind, Notified, Phase, Venue
from trading.wire import auth, codes, values
from trading.wire.accounts import parse_account
from trading.wire.auth import RequestHead
from trading.wire.endpoints import KRX_ORDER, KRX_ORDERS, US_BALANCE, Endpoint, Profile

MARKET_ORDER = "01"
_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Serve(Protocol):
    """Answers a call as the venue does when nothing is wrong."""

    def __call__(
        self, endpoint: Endpoint, head: RequestHead, params: Mapping[str, Any]
    ) -> Response:
        """Return the answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    fault: Fault
    endpoint: Endpoint
    head: RequestHead
    params: Mapping[str, Any]
    serve: Serve

    def served(self, **changes: Any) -> Response:
        """Return the venue's answer, to another endpoint, head or parameters where given."""
        return self.serve(
            changes.get("endpoint", self.endpoint),
            changes.get("head", self.head),
            changes.get("params", self.params),
        )


class FaultyCalls:
    """Lets calls through to the venue, and faults in between."""

    def __init__(self, injector: Injector, gate: Gate, hub: Hub, venue: Venue) -> None:
        self._injector = injector
        self._gate = gate
        self._hub = hub
        self._venue = venue
        # Fills that wait for the notice of a later event; ``None`` while none is withheld.
        self._withheld: list[Event] | None = None

    async def answer(
        self, endpoint: Endpoint, head: RequestHead, params: Mapping[str, Any], serve: Serve
    ) -> Response:
        """Answer one call, with at most one fault."""
        fields = values.upper_keys(params)
        self._observe(endpoint, fields)
        if self._injector.is_idle:
            return serve(endpoint, head, params)
        fault = self._injector.on_call(
            endpoint.name,
            is_read=endpoint.method == "GET",
            is_next_page=head.is_next_page,
            symbol=fields.get("PDNO", fields.get("FID_INPUT_ISCD", fields.get("SYMB", ""))),
            session=self._venue.session,
            now=self._venue.now,
        )
        if fault is None:
            return serve(endpoint, head, params)
        return await self._strike(
            _Call(fault=fault, endpoint=endpoint, head=head, params=params, serve=serve)
        )

    def publish(self, events: Sequence[Event]) -> None:
        """Hand the venue's events to those who listen, fills later while they are withheld."""
        if self._withheld is not None:
            is_fill = [isinstance(e, Notified) and e.kind is NoticeKind.FILLED for e in events]
            self._withheld += [e for e, late in zip(events, is_fill, strict=True) if late]
            events = [e for e, late in zip(events, is_fill, strict=True) if not late]
        self._hub.publish(events, self._venue)

    def _observe(self, endpoint: Endpoint, fields: Mapping[str, str]) -> None:
        if endpoint is US_BALANCE and fields.get("OVRS_EXCG_CD") == "NASD":
            self._injector.observe("6/nasd")
        elif endpoint is KRX_ORDERS and fields.get("EXCG_ID_DVSN_CD", "KRX") == "KRX":
            self._injector.observe("8/krx_only")
        elif endpoint is KRX_ORDER and fields.get("ORD_DVSN") == MARKET_ORDER:
            self._injector.observe("9/limit_up")
        elif endpoint.name.startswith("krx_index"):
            self._injector.observe("18/index")

    async def _strike(self, call: _Call) -> Response:
        match call.fault.kind.name:
            case "1/reply_lost":
                call.served()
                return Cut()
            case "1/reset":
                call.served()
                return Cut(is_reset=True)
            case "1/timeout":
                call.served()
                return Silence()
            case "1/server_error":
                call.served()
                return Response(_BAD_GATEWAY, status_code=502, media_type="text/html")
            case "1/truncated":
                return Truncated(call.served())
            case "1/verify":
                call.served()
                return _refused(500, codes.refusal("EGW00302"))
            case "1/before":
                return Cut()
            case "1/late":
                await asyncio.sleep(call.fault.option("seconds"))
                return call.served()
            case "25/fill_before_reply":
                response = call.served()
                await asyncio.sleep(call.fault.option("seconds"))
                return response
            case _:
                return self._at_once(call)

    def _at_once(self, call: _Call) -> Response:
        match call.fault.kind.name:
            case "3/revoked":
                self._gate.spoil_token(call.head.token)
                return call.served()
            case "3/odd_text":
                self._gate.spoil_token(call.head.token)
                return _refused(500, codes.oauth_refusal("EGW00121"))
            case "5/expired":
                self._gate.spoil_token(call.head.token, expired_at=self._venue.now)
                return call.served()
            case "7/small_page" | "19/look_back":
                return call.served(endpoint=_short(call.endpoint, call.fault.option("rows")))
            case "7/repeated_page":
                head = replace(call.head, is_next_page=False)
                first = {key: "" if _is_page_key(key) else v for key, v in call.params.items()}
                response = call.served(endpoint=_short(call.endpoint, 1), head=head, params=first)
                response.headers["tr_cont"] = "M"
                return response
            case "7/lost_key":
                response = _changed(call.served(), _without_keys)
                response.headers["tr_cont"] = "M"
                return response
            case "10/empty":
                return _changed(call.served(), _emptied)
            case "10/no_holdings":
                return _changed(call.served(), _without_holdings)
            case "16/just_filled":
                if not self._move_on():
                    self._injector.take_back(call.fault)
                return call.served()
            case "25/slow_cancel":
                self._venue.slow_cancels += 1
                return call.served()
            case "25/fill_after_cancel":
                return self._fill_after_cancel(call)
            case "26/twin":
                if not self._twin(call):
                    self._injector.take_back(call.fault)
                return call.served()
            case "20/temporary":
                return self._holiday(call)
            case "21/new_refused" | "21/old_refused" as name:
                new = (*call.endpoint.real.values(), *call.endpoint.paper.values())
                if (call.head.tr_id in new) == (name == "21/new_refused"):
                    return _refused(200, codes.refusal("OPSQ0002"))
                self._injector.take_back(call.fault)
                return call.served()
            case name if name in _REFUSALS:
                status, body = _REFUSALS[name](self._venue.profile)
                return _refused(status, body)
            case name:
                change = _CHANGES[name.partition("/")[2]]
                return _changed(call.served(), lambda body: change(body, call.fault))

    def _move_on(self) -> bool:
        """Let the venue live its next instant; not past the close."""
        venue = self._venue
        following = venue.next_instant() if venue.phase is Phase.OPEN else None
        if following is None or following >= venue.replay.close_ts:
            return False
        return venue.step(following)

    def _twin(self, call: _Call) -> bool:
        """Make the order of a call by hand as well; whether the venue took it."""
        venue, fields = self._venue, values.upper_keys(call.params)
        try:
            venue.trade_by_hand(
                parse_account(fields),
                fields["PDNO"],
                Side(call.endpoint.variant(venue.profile, call.head.tr_id) or ""),
                values.integer(fields["ORD_QTY"]),
                values.to_minor(fields.get("ORD_UNPR", fields.get("OVRS_ORD_UNPR")), venue.market),
            )
        except (KeyError, ValueError, TradingError, OrderRefused):
            # The call itself is refused for the same reason, or names an account yet unused.
            return False
        return True

    def _fill_after_cancel(self, call: _Call) -> Response:
        self._withheld = []
        try:
            if not self._move_on():
                self._injector.take_back(call.fault)
            return call.served()
        finally:
            held, self._withheld = self._withheld, None
            self._hub.publish(held, self._venue)

    def _holiday(self, call: _Call) -> Response:
        session = self._venue.session
        if session is None:
            self._injector.take_back(call.fault)
            return call.served()
        self._injector.bind(call.fault, session)
        if not call.endpoint.name.endswith("holidays"):
            refusal = OrderRefused(Reason.NOT_A_SESSION)
            return _refused(200, refusal.body(self._venue.profile))
        day = values.day_text(session)

        def close(body: dict[str, Any]) -> dict[str, Any]:
            rows = body["output"]
            if any("opnd_yn" in row for row in rows):
                closed = {"bzdy_yn": "N", "tr_day_yn": "N", "opnd_yn": "N", "sttl_day_yn": "N"}
                rows = [{**row, **closed} if row["bass_dt"] == day else row for row in rows]
            else:
                rows = []  # The US call lists what settles: on a closed day nothing does.
            return {**body, "output": rows}

        return _changed(call.served(), close)


class Cut(Response):
    """No answer: the connection ends, as a close or as a reset."""

    def __init__(self, *, is_reset: bool = False) -> None:
        super().__init__()
        self._is_reset = is_reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End the connection and wait until the server knows it."""
        transport = scope["state"]["transport"]
        if self._is_reset:
            linger = struct.pack("ii", 1, 0)
            plug = transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _gone(receive)


class Silence(Response):
    """No answer, for as long as the client waits."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until the client has gone."""
        await _gone(receive)


class Truncated(Response):
    """The first half of another answer, which had promised the whole."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body, whole.status_code, dict(whole.headers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and half the body, then end the connection."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["transport"].close()
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refused(status: int, body: Mapping[str, Any]) -> Response:
    return JSONResponse(body, status_code=status, headers=auth.response_headers(tr_id=""))


_REFUSALS: Mapping[str, Callable[[Profile], tuple[int, Mapping[str, Any]]]] = {
    "2/too_soon": lambda _: (403, codes.oauth_refusal("EGW00133")),
    "3/maintenance": lambda _: (500, {"rt_cd": "1", "msg_cd": "", "msg1": ""}),
    "4/gateway": lambda _: (500, codes.refusal("EGW00201")),
    "4/ledger": lambda _: (500, codes.refusal("EGW00215")),
    "11/window": lambda _: (200, codes.refusal("KIER3672")),
    "12/gateway": lambda _: (500, codes.refusal("EGW02006")),
    "12/business": lambda _: (200, codes.refusal("90000000")),
    "16/refused": lambda profile: (200, OrderRefused(Reason.NOTHING_LEFT).body(profile)),
    "17/wrong_exchange": lambda profile: (200, OrderRefused(Reason.UNKNOWN_SYMBOL).body(profile)),
    "20/once_a_day": lambda _: (500, codes.refusal("EGW00201")),
}


def _is_page_key(name: str) -> bool:
    return name.upper().startswith("CTX_AREA_")


def _short(endpoint: Endpoint, rows: int) -> Endpoint:
    return replace(endpoint, page_real=rows, page_paper=rows)


def _changed(response: Response, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """Return a successful answer with another body; a refusal as it is."""
    body = json.loads(bytes(response.body))
    if response.status_code != 200 or body.get("rt_cd") != "0":
        return response
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-type")
    }
    return JSONResponse(change(body), headers=headers)


def _without_keys(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: " " * len(value) if name.startswith("ctx_area") else value
        for name, value in body.items()
    }


def _without_holdings(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "output1": []}


def _emptied(body: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in body.items() if name != "output1"}
    return {**_mapped(rest, lambda text: "0" if _is_number(text) else text), "output1": []}


def _mapped(body: dict[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    """Return the body with every text of its outputs changed; envelope and paging keys stay."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walk(one) for name, one in value.items()}
        if isinstance(value, list):
            return [walk(one) for one in value]
        return change(value) if isinstance(value, str) else value

    return {name: walk(v) if name.startswith("output") else v for name, v in body.items()}


def _renamed(body: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the body with the names inside its outputs changed."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {change(name): walk(one) for name, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return {name: walk(v) if name.startswith("output") else v for name, v in body.items()}


def _appended(body: dict[str, Any], _: Fault) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{name: walk(one) for name, one in value.items()}, "new_item": "1"}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return dict(walk(body))


def _one_renamed(body: dict[str, Any], fault: Fault) -> dict[str, Any]:
    name = fault.option("field") or _first_name(body)
    return _renamed(body, lambda known: f"{known}_2" if known == name else known)


def _first_name(body: Mapping[str, Any]) -> str:
    for name in sorted(body):
        rows = body[name] if isinstance(body[name], list) else [body[name]]
        if name.startswith("output") and rows and isinstance(rows[0], dict):
            return next(iter(rows[0]), "")
    return ""


def _number(text: str) -> Any:
    # Only what reads the same afterwards: symbols and order numbers keep their zeros.
    if text.lstrip("-").isdigit() and str(int(text)) == text:
        return int(text)
    return text


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").replace(".", "", 1).isdigit()


_CHANGES: Mapping[str, Callable[[dict[str, Any], Fault], dict[str, Any]]] = {
    "appended": _appended,
    "upper_case": lambda body, _: _renamed(body, str.upper),
    "renamed": _one_renamed,
    "blanks": lambda body, _: _mapped(
        body, lambda text: "" if _is_number(text) and not float(text) else text
    ),
    "numbers": lambda body, _: _mapped(body, _number),
    "padded": lambda body, _: _mapped(body, lambda text: f" {text} "),
}
