"""Which faults of the field the exchange shall show, and when: catalogue, schedule, injector.

The numbers are those of FAULTS.md; ``docs/faults.md`` says what each does. What a fault does to
a call is in ``faulty_calls``, to a frame in ``faulty_frames``.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from trading.domain.instrument import Market
from trading.errors import ConfigError
from trading.exchange.journal import Fact, Journal
from trading.log import get_logger
from trading.wire.endpoints import BY_PATH

log = get_logger(__name__)


class Stage(StrEnum):
    """Where a fault meets the traffic."""

    CALL = "call"
    REGISTRATION = "registration"
    TRADE = "trade"
    NOTICE = "notice"
    INSTANT = "instant"
    OBSERVED = "observed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One row of the catalogue.

    ``calls`` is the group of calls that it meets unless an entry names another; ``options`` are
    the figures an entry may set; ``count`` 0 lasts for good; a seed lets it wait for at most
    ``span`` occasions, and never draws one with ``span`` 0.
    """

    number: int
    variant: str
    stage: Stage
    text: str
    calls: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1
    span: int = 3
    market: Market | None = None

    @property
    def name(self) -> str:
        """Return number and variant, as the counts name them."""
        return f"{self.number}/{self.variant}"


def _calls(number: int, calls: str, *rows: tuple[str, str], **more: Any) -> list[Kind]:
    return [
        Kind(number=number, variant=variant, stage=Stage.CALL, text=text, calls=calls, **more)
        for variant, text in rows
    ]


def _frames(number: int, stage: Stage, *rows: tuple[str, str], **more: Any) -> list[Kind]:
    return [
        Kind(number=number, variant=variant, stage=stage, text=text, **more)
        for variant, text in rows
    ]


def _observed(number: int, *rows: tuple[str, str], market: Market | None = None) -> list[Kind]:
    return [
        Kind(number=number, variant=v, stage=Stage.OBSERVED, text=text, span=0, market=market)
        for v, text in rows
    ]


_KRX, _US = Market.KRX, Market.US
_KINDS: tuple[Kind, ...] = (
    *_calls(
        1,
        "write",
        ("reply_lost", "처리한 뒤 응답 없이 접속을 닫음"),
        ("reset", "처리한 뒤 접속을 강제로 끊음 (RST)"),
        ("timeout", "처리한 뒤 응답하지 않음"),
        ("server_error", "처리한 뒤 502와 HTML로 답함"),
        ("truncated", "처리한 뒤 본문을 중간에서 끊음"),
        ("verify", "처리한 뒤 EGW00302로 답함"),
        ("before", "처리하지 않고 접속을 닫음"),
    ),
    *_calls(1, "write", ("late", "클라이언트가 포기한 뒤에야 처리함"), options={"seconds": 1.0}),
    *_calls(2, "token", ("too_soon", "토큰 발급을 EGW00133으로 거부"), span=1),
    *_calls(
        3,
        "any",
        ("revoked", "토큰을 만료 전에 무효로 함 (EGW00121)"),
        ("odd_text", "토큰을 무효로 하고 OAuth 형식의 문구로 거부"),
        ("maintenance", "코드와 문구가 빈 점검 응답 (HTTP 500)"),
        span=8,
    ),
    *_calls(
        4,
        "any",
        ("gateway", "초당 건수 초과 EGW00201"),
        ("ledger", "원장 초당 건수 초과 EGW00215"),
        span=8,
    ),
    *_calls(5, "any", ("expired", "토큰이 지금 만료됨 (EGW00123)"), span=8),
    *_observed(6, ("nasd", "NASD 한 코드로 미국 잔고를 물음"), market=_US),
    *_calls(
        7,
        "listing",
        ("small_page", "한 쪽의 줄 수를 줄여 연속조회가 생김"),
        options={"rows": 1},
        count=0,
        span=1,
    ),
    *_calls(
        7,
        "continuation",
        ("repeated_page", "다음 쪽 대신 첫 쪽을 다시 줌"),
        ("lost_key", "다음 쪽이 있다면서 연속키를 비움"),
        span=1,
    ),
    *_observed(8, ("krx_only", "KRX만 묻는 체결 조회라 NXT/SOR 주문이 빠짐"), market=_KRX),
    *_observed(9, ("limit_up", "시장가 매수가 상한가로 현금을 묶음"), market=_KRX),
    *_frames(
        9,
        Stage.INSTANT,
        ("by_hand", "손으로 낸 시장가 매수가 상한가로 현금을 묶음"),
        options={"quantity": 1},
        span=6,
        market=_KRX,
    ),
    *_calls(
        10,
        "balance",
        ("empty", "보유도 현금도 없는 잔고"),
        ("no_holdings", "현금은 맞고 보유만 빈 잔고"),
    ),
    *_calls(11, "order", ("window", "예약주문 시간이라며 KIER3672로 거부")),
    *_calls(
        12,
        "read",
        ("gateway", "모의투자 TR이 아니라며 EGW02006으로 거부"),
        ("business", "모의투자에 없는 기능이라며 90000000으로 거부"),
        span=6,
    ),
    *_frames(
        13, Stage.INSTANT, ("rejected", "접수된 주문을 거래소가 뒤늦게 거부 (거부통보)"), span=6
    ),
    *_frames(13, Stage.NOTICE, ("garbled", "풀 수 없는 암호문의 통보"), span=6),
    *_frames(
        13, Stage.NOTICE, ("appended", "뒤에 항목이 더 붙은 통보"), options={"fields": 3}, span=6
    ),
    *_frames(
        14,
        Stage.TRADE,
        ("merged", "한 시각의 체결을 한 프레임에 여러 건으로 묶음"),
        span=2,
        count=5,
    ),
    *_frames(14, Stage.NOTICE, ("merged_notices", "통보를 한 프레임에 묶음"), span=2),
    *_frames(14, Stage.TRADE, ("miscounted", "건수가 틀린 프레임"), span=6),
    *_frames(
        15,
        Stage.TRADE,
        ("stall", "접속은 두고 아무것도 보내지 않음"),
        ("disconnect", "접속을 강제로 끊음"),
        ("close", "접속을 정상으로 닫음"),
        ("lost_registrations", "등록이 소리 없이 사라짐"),
        ("dropped", "체결 한 건이 사라짐"),
        ("twice", "체결 한 건이 두 번 옴"),
        ("ping", "PINGPONG이 끼어듦"),
        span=8,
    ),
    *_frames(
        15,
        Stage.REGISTRATION,
        ("ghost", "유령 세션: OPSP8996으로 거부하고 끊음"),
        ("approval", "접속키를 OPSP0011로 거부"),
        ("unavailable", "등록을 OPSP0007로 거부"),
        span=1,
    ),
    *_calls(16, "cancel", ("just_filled", "취소가 닿기 직전 시장이 움직임"), span=1),
    *_calls(16, "cancel", ("refused", "취소·정정할 수량이 없다고 거부"), span=1),
    *_calls(17, "order", ("wrong_exchange", "거래소 코드가 틀렸다며 거부 (APBK0656)")),
    *_observed(18, ("index", "KIS 업종코드로 지수를 물음"), market=_KRX),
    *_calls(
        19,
        "daily",
        ("look_back", "끝 날짜에서 정해진 수만 거슬러 줌"),
        options={"rows": 30},
        count=0,
        span=1,
    ),
    *_calls(20, "holidays", ("once_a_day", "휴장일을 두 번 물으면 거부"), count=0, span=0),
    *_calls(
        20, "session", ("temporary", "임시 휴장: 주문은 거부, 휴장일 조회는 휴장"), count=0, span=2
    ),
    *_calls(
        21,
        "write",
        ("new_refused", "새 주문 TR을 거부 (옛 TR만 받음)"),
        ("old_refused", "옛 주문 TR을 거부 (새 TR만 받음)"),
        count=0,
        span=0,
    ),
    *_observed(
        22,
        ("base_price", "기준가가 전일 종가와 다른 권리락일"),
    ),
    *_observed(
        23,
        ("midnight", "미국 거래일 안에 한국 자정이 있음"),
        ("dst", "서머타임이 바뀐 뒤 첫 거래일"),
        ("half_day", "일찍 닫는 날"),
        market=_US,
    ),
    *_frames(
        24,
        Stage.INSTANT,
        ("halt", "거래정지: 접수만 되고 체결되지 않음"),
        ("vi", "변동성완화장치 2분"),
        options={"minutes": 2},
        span=6,
    ),
    *_calls(
        25, "write", ("fill_before_reply", "통보가 응답보다 먼저 닿음"), options={"seconds": 0.05}
    ),
    *_calls(25, "cancel", ("slow_cancel", "취소를 접수만 하고 다음 시각에 처리함"), span=1),
    *_calls(25, "cancel", ("fill_after_cancel", "취소 확인 뒤에 그 전의 체결통보가 옴"), span=1),
    *_frames(
        25,
        Stage.NOTICE,
        ("reordered", "접수통보가 체결통보보다 늦게 옴"),
        ("delayed", "통보가 다음 시각에 옴"),
        ("twice", "같은 통보가 두 번 옴"),
        ("dropped", "통보가 사라짐"),
        span=8,
    ),
    *_frames(
        26,
        Stage.INSTANT,
        ("buy", "HTS에서 손으로 매수"),
        ("sell", "HTS에서 손으로 매도"),
        options={"quantity": 1},
        span=6,
    ),
    *_frames(
        26,
        Stage.INSTANT,
        ("cancel", "우리 주문을 HTS에서 취소"),
        ("revise", "우리 주문을 HTS에서 정정 (새 주문번호)"),
        span=6,
    ),
    *_calls(26, "order", ("twin", "같은 종목·수량·가격의 주문을 손으로도 냄")),
    *_calls(
        27,
        "read",
        ("appended", "응답에 새 항목이 붙음"),
        ("upper_case", "응답 항목 이름이 대문자가 됨"),
        ("blanks", "0 대신 빈칸"),
        ("numbers", "숫자가 문자열이 아닌 JSON 숫자로 옴"),
        ("padded", "값에 앞뒤 공백이 붙음"),
        span=6,
    ),
    *_calls(27, "read", ("renamed", "응답 항목 하나의 이름이 바뀜"), options={"field": ""}, span=6),
    *_frames(27, Stage.TRADE, ("malformed", "항목이 모자란 프레임"), span=6),
    *_frames(
        27, Stage.TRADE, ("appended_frame", "체결에 항목이 더 붙음"), options={"fields": 2}, span=6
    ),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
NUMBERS = tuple(sorted({kind.number for kind in _KINDS}))

# Groups of calls by the endpoint's name without its market.
_GROUPS: Mapping[str, frozenset[str]] = {
    "order": frozenset({"order"}),
    "cancel": frozenset({"change"}),
    "write": frozenset(
        {
            "order",
            "change",
            "daytime_order",
            "daytime_change",
            "reserve",
            "reserve_change",
            "reserve_cancel",
        }
    ),
    "session": frozenset({"order", "change", "holidays"}),
    "listing": frozenset({"orders", "open_orders"}),
    "continuation": frozenset({"orders", "open_orders"}),
    "balance": frozenset({"balance"}),
    "holidays": frozenset({"holidays"}),
    "daily": frozenset({"daily"}),
    "token": frozenset({"token"}),
}
_OAUTH = frozenset({"token", "revoke", "approval", "hashkey"})
_COMMON = frozenset({"fault", "variant", "call", "symbol", "session", "at", "nth", "count"})
_ENDPOINTS = frozenset(endpoint.name for endpoint in BY_PATH.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of a schedule: from occasion ``nth`` on, ``count`` times (0: always).

    An occasion is a call, frame or instant of its kind that also fits ``symbol``, ``session``
    (only that one) and ``at`` (not before that instant).
    """

    kind: Kind
    call: str = ""
    symbol: str = ""
    session: date | None = None
    at: datetime | None = None
    nth: int = 1
    count: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def option(self, name: str) -> Any:
        """Return a figure of the entry, else its kind's."""
        return self.options.get(name, self.kind.options[name])

    def spec(self) -> dict[str, Any]:
        """Return the entry as it would be written."""
        return {
            "fault": self.kind.number,
            "variant": self.kind.variant,
            "call": self.call,
            "symbol": self.symbol,
            "session": self.session.isoformat() if self.session is not None else None,
            "at": self.at.isoformat() if self.at is not None else None,
            "nth": self.nth,
            "count": self.count,
            **self.options,
        }

    def concerns(self, endpoint: str, *, is_read: bool, is_next_page: bool) -> bool:
        """Whether a call is of the group or name that the entry speaks of."""
        group = self.call or self.kind.calls
        short = endpoint.split("_", 1)[-1]
        if self.kind.calls == "continuation" and not is_next_page:
            return False
        if group == "any":
            return endpoint not in _OAUTH
        if group == "read":
            return is_read and endpoint not in _OAUTH
        return endpoint == group or short in _GROUPS.get(group, frozenset())


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """Entries, and where they come from: the counters of a restart are found by it."""

    origin: str
    faults: tuple[Fault, ...]

    @classmethod
    def parse(cls, text: str, market: Market) -> "FaultSchedule":
        """Read ``seed:N`` or the name of a YAML file; ``ConfigError`` names the line."""
        if text.startswith("seed:"):
            try:
                seed = int(text.removeprefix("seed:"))
            except ValueError as error:
                raise ConfigError(f"장애 일정의 씨앗은 정수여야 함: {text}") from error
            return draw(seed, market)
        try:
            content = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"장애 일정 파일을 읽을 수 없음: {text}") from error
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        return cls(f"file:{digest}", tuple(_from_yaml(content, text)))


def draw(seed: int, market: Market) -> FaultSchedule:
    """Return the schedule of a seed: about ten faults, early enough to happen in one session."""
    rng = random.Random(seed)  # noqa: S311 (a schedule that a seed repeats)
    faults = []
    for number in NUMBERS:
        kinds = [
            kind
            for kind in _KINDS
            if kind.number == number and kind.span and kind.market in (None, market)
        ]
        # Drawn in any case, so that a new kind does not move the draws of the others.
        wanted, choice, nth = rng.random(), rng.random(), rng.random()
        if kinds and wanted < 0.4:
            kind = kinds[int(choice * len(kinds))]
            faults.append(Fault(kind=kind, count=kind.count, nth=1 + int(nth * kind.span)))
    return FaultSchedule(f"seed:{seed}", tuple(faults))


def fault_from(spec: Mapping[str, Any], where: Callable[[str], str]) -> Fault:
    """Return the entry that ``spec`` describes; ``where`` tells the place of a key for errors."""
    number = _of_type(spec, "fault", int, where)
    kinds = [kind for kind in _KINDS if kind.number == number]
    if not kinds:
        raise ConfigError(f"{where('fault')}: 없는 장애 번호 {number} (1~{NUMBERS[-1]})")
    variant = _of_type(spec, "variant", str, where, kinds[0].variant)
    kind = KINDS.get(f"{number}/{variant}")
    if kind is None:
        known = ", ".join(one.variant for one in kinds)
        raise ConfigError(f"{where('variant')}: {number}번에 없는 종류 {variant!r} ({known})")
    if kind.stage is Stage.OBSERVED:
        raise ConfigError(f"{where('variant')}: {kind.name}은 거래소의 규칙이라 일정에 넣지 않음")
    allowed = _COMMON | kind.options.keys()
    for key in spec:
        if key not in allowed:
            raise ConfigError(f"{where(key)}: 모르는 항목 {key!r} ({', '.join(sorted(allowed))})")
    call = _of_type(spec, "call", str, where, "")
    if call and call not in _ENDPOINTS and call not in _GROUPS and call not in ("any", "read"):
        raise ConfigError(f"{where('call')}: 없는 호출 이름 {call!r}")
    return Fault(
        kind=kind,
        call=call,
        symbol=_of_type(spec, "symbol", str, where, ""),
        session=_moment(spec, "session", date, where),
        at=_moment(spec, "at", datetime, where),
        nth=_of_type(spec, "nth", int, where, 1),
        count=_of_type(spec, "count", int, where, kind.count),
        options={
            name: _of_type(spec, name, type(default), where)
            for name, default in kind.options.items()
            if name in spec
        },
    )


@dataclass(slots=True)
class _Armed:
    """An entry at work: occasions seen, times fired."""

    key: str
    fault: Fault
    seen: int = 0
    fired: int = 0

    @property
    def is_spent(self) -> bool:
        return 0 < self.fault.count <= self.fired

    def body(self) -> dict[str, Any]:
        return {"spec": self.fault.spec(), "seen": self.seen, "fired": self.fired}


class Injector:
    """Says which fault happens now, and counts; what has fired stays so over ``kill -9``.

    Deterministic: the same schedule and the same traffic give the same faults.
    """

    def __init__(self, schedule: FaultSchedule | None, journal: Journal) -> None:
        self._journal = journal
        self._counts: Counter[str] = Counter()
        self._armed: list[_Armed] = []
        for fact in journal.read("fault_count"):
            self._counts[fact.key] = fact.body["count"]
        saved = {fact.key: fact.body for fact in journal.read("fault")}
        scheduled = schedule.faults if schedule is not None else ()
        origin = schedule.origin if schedule is not None else ""
        for index, fault in enumerate(scheduled):
            self._arm(f"{origin}#{index}", fault, saved)
        self._posted = 0
        for key, body in saved.items():
            if key.startswith("posted#"):
                self._posted += 1
                self._arm(key, fault_from(_present(body["spec"]), str), saved)

    def add(self, specs: Iterable[Mapping[str, Any]]) -> None:
        """Add entries at run time; ``ConfigError`` when one is wrong, and then none is added."""
        faults = [fault_from(spec, partial(_in_list, index)) for index, spec in enumerate(specs)]
        armed = []
        for fault in faults:
            armed.append(_Armed(f"posted#{self._posted:06d}", fault))
            self._posted += 1
        self._journal.commit(*(Fact("fault", one.key, "", one.body()) for one in armed))
        self._armed += armed

    @property
    def is_idle(self) -> bool:
        """Whether nothing more can happen."""
        return all(one.is_spent for one in self._armed)

    def counts(self) -> dict[str, Any]:
        """Return how often each number and each variant happened."""
        numbers = {
            str(number): sum(
                count
                for name, count in self._counts.items()
                if name.partition("/")[0] == str(number)
            )
            for number in NUMBERS
        }
        return {**numbers, "variants": {name: n for name, n in sorted(self._counts.items()) if n}}

    def pending(self) -> list[dict[str, Any]]:
        """Return the entries that may still happen."""
        return [one.body() for one in self._armed if not one.is_spent]

    def observe(self, name: str) -> None:
        """Count something that the venue does by its rules; the first time is kept at once."""
        self._counts[name] += 1
        if self._counts[name] == 1:
            self._keep(None, name)

    def on_call(
        self,
        endpoint: str,
        *,
        is_read: bool,
        is_next_page: bool,
        symbol: str,
        session: date | None,
        now: datetime,
    ) -> Fault | None:
        """Return the fault of this call, counted and durable."""
        return self._first(
            lambda fault: (
                fault.kind.stage is Stage.CALL
                and fault.concerns(endpoint, is_read=is_read, is_next_page=is_next_page)
            ),
            symbol,
            session,
            now,
        )

    def on(
        self,
        stage: Stage,
        *,
        symbol: str = "",
        session: date | None,
        now: datetime,
        is_possible: Callable[[Fault], bool] = lambda _: True,
    ) -> Fault | None:
        """Return the fault of this frame, registration or instant, counted and durable.

        One that is not possible now waits for the next occasion.
        """
        return self._first(
            lambda fault: fault.kind.stage is stage, symbol, session, now, is_possible
        )

    def take_back(self, fault: Fault) -> None:
        """Say that a fault could not be shown on this occasion: it waits for the next."""
        one = next(one for one in self._armed if one.fault is fault)
        one.fired -= 1
        self._counts[fault.kind.name] -= 1
        self._keep(one, fault.kind.name)

    def bind(self, fault: Fault, session: date) -> Fault:
        """Let a fault that has begun last for ``session`` only."""
        one = next(one for one in self._armed if one.fault is fault)
        one.fault = replace(fault, session=session)
        self._keep(one, fault.kind.name)
        return one.fault

    def _first(
        self,
        fits: Callable[[Fault], bool],
        symbol: str,
        session: date | None,
        now: datetime,
        is_possible: Callable[[Fault], bool] = lambda _: True,
    ) -> Fault | None:
        due: list[_Armed] = []
        for one in self._armed:
            fault = one.fault
            if one.is_spent or not fits(fault):
                continue
            # A market event is told its symbol; everything else is looked at for it.
            if fault.symbol and fault.symbol != symbol and fault.kind.stage is not Stage.INSTANT:
                continue
            if fault.session is not None and fault.session != session:
                continue
            if fault.at is not None and now < fault.at:
                continue
            one.seen += 1
            if one.seen >= fault.nth and is_possible(fault):
                due.append(one)
        if not due:
            return None
        # Two due at once: the second waits for the next occasion, and what lasts waits for all.
        found = next((one for one in due if one.fault.count), due[0])
        name = found.fault.kind.name
        found.fired += 1
        self._counts[name] += 1
        if found.fault.count or found.fired == 1:
            self._keep(found, name)
        log.info("장애 발생", fault=name, text=found.fault.kind.text, now=now.isoformat())
        return found.fault

    def _arm(self, key: str, fault: Fault, saved: Mapping[str, Mapping[str, Any]]) -> None:
        one = _Armed(key, fault)
        if key in saved:
            body = saved[key]
            one.seen, one.fired = body["seen"], body["fired"]
            bound = body["spec"]["session"]
            if bound is not None:
                one.fault = replace(fault, session=date.fromisoformat(bound))
        self._armed.append(one)

    def _keep(self, one: _Armed | None, name: str) -> None:
        # The others' occasions go along: a restart then loses only those since the last fault.
        waiting = [other for other in self._armed if other.seen and not other.is_spent]
        kept = {other.key: other for other in (*waiting, *([one] if one is not None else []))}
        self._journal.commit(
            Fact("fault_count", name, "", {"count": self._counts[name]}),
            *(Fact("fault", key, "", other.body()) for key, other in kept.items()),
        )


def _in_list(index: int, key: str) -> str:
    return f"{index + 1}번째 항목의 {key}"


def _present(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if value is not None}


def _from_yaml(content: str, path: str) -> Sequence[Fault]:
    import yaml

    loader = yaml.SafeLoader(content)
    try:
        root = loader.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.SequenceNode):
            raise ConfigError(f"{path}: 장애 일정은 목록이어야 함")
        return [_from_node(node, loader, path) for node in root.value]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" {mark.line + 1}번째 줄" if mark is not None else ""
        raise ConfigError(f"{path}{line}: YAML 형식 오류") from error
    finally:
        loader.dispose()


def _from_node(node: Any, loader: Any, path: str) -> Fault:
    import yaml

    first = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path} {first}번째 줄: '이름: 값'의 묶음이어야 함")
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    if len(lines) != len(node.value):
        raise ConfigError(f"{path} {first}번째 줄: 같은 항목이 두 번 있음")
    spec = {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}
    return fault_from(spec, lambda key: f"{path} {lines.get(key, first)}번째 줄")


def _of_type(
    spec: Mapping[str, Any],
    key: str,
    wanted: type,
    where: Callable[[str], str],
    default: Any = None,
) -> Any:
    value = spec.get(key, default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is str and key == "symbol" and isinstance(value, int):
        raise ConfigError(f"{where(key)}: 종목 코드는 따옴표로 묶으십시오")
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ConfigError(f"{where(key)}: {key} 값이 {wanted.__name__}이 아님: {value!r}")
    if isinstance(value, (int, float)) and value < (1 if key == "nth" else 0):
        raise ConfigError(f"{where(key)}: {key} 값이 너무 작음: {value}")
    return value


def _moment(
    spec: Mapping[str, Any], key: str, wanted: type[date], where: Callable[[str], str]
) -> Any:
    value = spec.get(key)
    if value is None:
        return None
    try:
        # YAML reads bare dates by itself; JSON and quoted ones are text.
        found = wanted.fromisoformat(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(f"{where(key)}: {key} 형식 오류: {value!r}") from error
    if type(found) is not wanted:
        raise ConfigError(f"{where(key)}: {key} 형식 오류: {value!r}")
    if isinstance(found, datetime) and found.tzinfo is None:
        raise ConfigError(f"{where(key)}: 시간대가 없는 시각은 쓸 수 없음")
    return found
