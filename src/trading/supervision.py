"""The operator's word given, and open orders canceled, whether or not a session or Prefect runs.

A running session finds the word by itself (``live.obedience``) and is only waited for here. Without
one, the account is held meanwhile, the ledger and whoever is to be told hear of it, and the venue is
asked directly. The dead-man switch does the same for a session that shows no life any more.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from trading import bootstrap
from trading.bootstrap import Installation
from trading.clock import WallClock, monotonic_seconds
from trading.config import Env
from trading.context import run_dir
from trading.domain.decision import TradingState
from trading.domain.instrument import Instrument, Market
from trading.domain.order import OrderStatus
from trading.domain.wording import MARKET_TEXT, STATE_TEXT
from trading.errors import DataError, LedgerError, SessionBusyError, TradingError
from trading.execution.engine import stricter
from trading.live import control
from trading.live.control import By, Cancellation, Scope, Standing
from trading.live.guardian import Silence
from trading.live.journal import Journal, operator_record, read_session
from trading.live.withdrawal import withdraw
from trading.log import get_logger
from trading.monitoring import is_running
from trading.overview import heartbeat_of
from trading.ports import Ledger, RecordKind
from trading.store.ledger import MemoryLedger

log = get_logger(__name__)

# What restricts a session besides its operator, by the code that the ledger holds.
HELD_TEXT: Mapping[str, str] = {
    "DAILY_LOSS": "하루 손실 한도",
    "CAP_DRAWDOWN": "낙폭 한도",
    "DRILL_FAILED": "안전장치 훈련 실패",
}

BY_TEXT: Mapping[By, str] = {
    By.CLI: "명령줄",
    By.DASHBOARD: "대시보드",
    By.FILE: "정지 파일",
    By.DEAD_MAN: "감시 프로세스",
}

_POLL_SECONDS = 0.1
# How long a session may take to answer: it looks once a second and then asks the venue.
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a word or a request.

    ``has_session`` and ``is_done``: a session trades the account, and nothing of what was asked is
    left to be done. ``is_busy``: no session does, but another run holds the account (a stage
    before or after the session, a training). ``state`` is what may be traded now and ``held_by``
    what restricts it besides the operator. ``left`` are orders of a session that died before its
    end: nobody has canceled them yet. ``is_request``: orders were to be canceled, and what may
    be traded stays.
    """

    market: Market
    env: Env
    state: TradingState
    standing: Standing
    has_session: bool
    is_done: bool
    is_busy: bool = False
    held_by: tuple[str, ...] = ()
    orders: Cancellation = field(default_factory=Cancellation)
    left: int = 0
    is_request: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON object."""
        said = self.standing
        return {
            "market": str(self.market),
            "env": str(self.env),
            "state": str(self.state),
            "word": str(said.word),
            "by": str(said.by) if said.by is not None else None,
            "since": said.since.isoformat() if said.since is not None else None,
            "reason": said.reason,
            "session_running": self.has_session,
            "account_busy": self.is_busy,
            "done": self.is_done,
            "held_by": list(self.held_by),
            "canceled": list(self.orders.canceled),
            "failed": list(self.orders.failed),
            "left": self.left,
        }

    def text(self) -> str:
        """Return the outcome as the operator reads it."""
        lines = [f"{MARKET_TEXT[self.market]} 시장({self.env}): {STATE_TEXT[self.state]}"]
        if self.standing.by is By.FILE:
            lines.append(f"  {self.standing.reason} 파일이 있는 동안 모든 계좌의 거래가 멈춥니다.")
        if self.has_session:
            lines.append(
                "  도는 세션이 따랐습니다."
                if self.is_done
                else "  도는 세션이 아직 답하지 않았습니다. 적어 두었으니 세션이 다음에 볼 때 따릅니다. "
                "계속 답이 없으면 trading check 로 살펴보십시오."
            )
        elif self.is_busy:
            lines.append(
                "  지금 주문을 내는 세션은 없고, 준비나 학습, 정리 같은 다른 단계가 이 계좌를 쓰고 있습니다."
            )
            if not (self.is_request and self.is_done):
                lines.append("  적어 두었으니 다음에 시작하는 세션이 따릅니다.")
        elif self.is_request:
            if self.orders != Cancellation():
                lines.append("  도는 세션이 없어 거래소에 직접 물었습니다.")
        else:
            lines.append("  도는 세션이 없습니다. 다음에 시작하는 세션이 따릅니다.")
        lines += self._orders()
        if self.held_by:
            held = ", ".join(HELD_TEXT.get(code, code) for code in self.held_by)
            lines.append(f"  그 밖에 막는 것: {held}. 풀릴 때까지 축소만 허용됩니다.")
        return "\n".join(lines)

    def _orders(self) -> list[str]:
        lines = []
        if self.orders.canceled:
            lines.append(f"  취소한 미체결 주문 {len(self.orders.canceled)}건")
        elif self.is_request and self.is_done and not self.orders.failed:
            lines.append("  취소할 미체결 주문이 없습니다.")
        lines += [f"  취소하지 못함: {one}" for one in self.orders.failed]
        if self.left:
            then = "다음 세션이 살핍니다." if self.is_busy else "trading cancel-all"
            lines.append(
                f"  끝나지 않은 세션의 미체결 주문이 {self.left}건 남아 있을 수 있습니다: {then}"
            )
        return lines


def give_word(
    installation: Installation, market: Market, state: TradingState, *, by: By, reason: str = ""
) -> Outcome:
    """Let the account trade by ``state`` from now on, over restarts, until the next word.

    Raises ``DataError`` when the word cannot be written: then nothing has changed.
    """
    env, place = _account(installation, market)
    said = control.ask(*place, state, by=by, reason=reason)
    is_busy = False
    try:
        with bootstrap.account_held(installation.home, env, market):
            held_by, left = _left_open(installation, env, market, said)
    except SessionBusyError:
        answered = _awaited(
            installation, env, market,
            lambda now: now.obeyed is not None and now.obeyed.request == said.request,
        )  # fmt: skip
        if answered is not None:
            return _word_answered(env, market, said, answered)
        is_busy = True
        held_by, left = _left_open(installation, env, market, None)
    _tell(installation, env, market, said, Cancellation())
    shown = said.state
    if held_by and shown is TradingState.ACTIVE:
        shown = TradingState.REDUCING
    return Outcome(
        market=market, env=env, state=shown, standing=said, has_session=False, is_busy=is_busy,
        is_done=not left or state is TradingState.ACTIVE, held_by=held_by, left=left,
    )  # fmt: skip


def _word_answered(env: Env, market: Market, said: Standing, now: Standing) -> Outcome:
    answer = now.obeyed
    if answer is None or answer.request != said.request:
        return Outcome(
            market=market, env=env, state=now.state, standing=now, has_session=True, is_done=False
        )
    return Outcome(
        market=market, env=env, state=answer.state, standing=now, has_session=True, is_done=True,
        held_by=answer.held_by, orders=answer.withdrawn,
    )  # fmt: skip


def cancel_all(
    installation: Installation, market: Market, *, by: By, scope: Scope, reason: str = ""
) -> Outcome:
    """Cancel what is open at the venue; what may be traded stays.

    Raises ``BrokerError`` when no session runs and the venue cannot be asked.
    """
    env, place = _account(installation, market)
    asked = control.ask_cancel_all(*place, by=by, scope=scope, reason=reason)
    try:
        with bootstrap.account_held(installation.home, env, market):
            ledger = _open_ledger(installation, env, market)
            try:
                session = _session_at_hand(ledger, env, market)
                done = asyncio.run(_withdraw(installation, env, market, ledger, session, scope))
            except TradingError as error:
                # Whoever asked hears of it: the next session is not to come back to it days later.
                failed = Cancellation(failed=(str(error),))
                control.answer_cancel_all(*place, asked.request, failed)
                raise
            finally:
                ledger.close()
            control.answer_cancel_all(*place, asked.request, done)
            said = control.read(*place)
            text = "운영자의 말에 따라 미체결 주문을 취소했습니다."
            _tell(installation, env, market, said, done, text=text)
            return Outcome(
                market=market, env=env, state=said.state, standing=said, has_session=False,
                is_done=not done.failed, orders=done, is_request=True,
            )  # fmt: skip
    except SessionBusyError:
        pass

    def answer_in(now: Standing) -> Cancellation | None:
        found = now.cancel_all
        return found.answer if found is not None and found.request == asked.request else None

    answered = _awaited(installation, env, market, lambda now: answer_in(now) is not None)
    if answered is not None:
        answer = answer_in(answered)
        return Outcome(
            market=market, env=env, state=answered.state, standing=answered, has_session=True,
            is_done=answer is not None, orders=answer or Cancellation(), is_request=True,
        )  # fmt: skip
    _, left = _left_open(installation, env, market, None)
    said = control.read(*place)
    return Outcome(
        market=market, env=env, state=said.state, standing=said, has_session=False, is_busy=True,
        is_done=scope is Scope.OURS and not left, left=left, is_request=True,
    )  # fmt: skip


def _awaited(
    installation: Installation, env: Env, market: Market, is_answered: Callable[[Standing], bool]
) -> Standing | None:
    """Return the word once the session has answered it, or as it stands when the time is over.

    ``None`` at once where no session runs: who holds the account then sends no orders.
    """
    place = run_dir(installation.home), str(env), str(market)
    deadline = monotonic_seconds() + _ANSWER_SECONDS
    while True:
        beat = heartbeat_of(installation.home, env, market)
        now = control.read(*place)
        if is_answered(now):
            return now
        if beat is None or not is_running(beat):
            return None
        if monotonic_seconds() >= deadline:
            return now
        time.sleep(_POLL_SECONDS)


def stand_in(root: Path | None, env: Env, market: Market, silence: Silence) -> Outcome | None:
    """Do what is left to be done for a session that shows no life: it may be dead or hung.

    The ledger is taken over, so that a process that wakes up later sends nothing more; its open
    orders are canceled; the account may only reduce until the operator resumes. What could not be
    done is said. ``None`` for a demo that was stopped with its exchange: there no time passes.
    """
    installation = bootstrap.open_home(root, console=False)
    if env is Env.DEMO and bootstrap.running_exchange(installation.home, market) is None:
        log.info("데모가 거래소와 함께 멈춤, 대신할 일 없음", session=str(silence.session))
        return None
    place = run_dir(installation.home), str(env), str(market)
    failed: list[str] = []
    seconds = round(silence.seconds)
    reason = f"세션(프로세스 {silence.pid})이 {seconds}초 동안 살아 있다는 표시를 남기지 않음"
    with _held_if_free(installation, env, market):
        said = control.read(*place)
        if said.word is not TradingState.HALTED:
            try:
                said = control.ask(*place, TradingState.REDUCING, by=By.DEAD_MAN, reason=reason)
            except TradingError as error:
                failed.append(str(error))
                # Without its file the ledger's word counts.
                state = stricter(said.state, TradingState.REDUCING)
                said = replace(said, state=state, word=TradingState.REDUCING,
                               by=By.DEAD_MAN, reason=reason)  # fmt: skip
        try:
            done = _taken_over(installation, env, market, silence.session, said, failed)
        except Exception as error:
            # Whatever it was: somebody has to hear that nobody watches the account.
            log.exception("대신 멈추는 일을 마치지 못함", told=True)
            done = Cancellation()
            failed.append(
                f"미체결 주문 취소를 마치지 못함({type(error).__name__}: {error}) — 증권사 앱에서 미체결 주문을 확인하십시오"
            )
        done = replace(done, failed=(*done.failed, *failed))
        # A halt that stood before stands on.
        text = (
            f"{reason}. 계좌를 넘겨받아 {STATE_TEXT[said.state]} 상태로 두었습니다. 이 장치는 손실을 막지 못합니다: "
            "가진 주식은 그대로이고, 손절은 세션이 다시 돌아야 나갑니다. 세션을 다시 시작하고 trading resume 으로 "
            "푸십시오."
        )
        log.critical(
            "세션이 살아 있지 않아 대신 멈춤",
            session=str(silence.session),
            pid=silence.pid,
            phase=silence.phase,
            seconds=seconds,
            canceled=list(done.canceled),
            failed=list(done.failed),
            told=True,
        )
        _tell(installation, env, market, said, done, text=text)
    return Outcome(
        market=market, env=env, state=said.state, standing=said, has_session=False,
        is_done=not done.failed, orders=done,
    )  # fmt: skip


def _taken_over(
    installation: Installation,
    env: Env,
    market: Market,
    session: date,
    said: Standing,
    failed: list[str],
) -> Cancellation:
    """Take the ledger from a session without life and cancel its orders; add to ``failed``."""
    with contextlib.ExitStack() as stack:
        # A cancel takes no risk: it is not kept back because nobody can write it down.
        ledger: Ledger = MemoryLedger()
        pen = ledger
        try:
            books = bootstrap.open_ledger(installation.home, env, market)
            stack.callback(books.close)
            ledger = books
            books.claim()
            _append_word(books, session, said)
            pen = books
        except (LedgerError, DataError) as error:
            failed.append(f"장부를 넘겨받지 못함: {error}")
        return _withdrawn(installation, env, market, ledger, session, pen)


def _account(installation: Installation, market: Market) -> tuple[Env, tuple[Path, str, str]]:
    env = installation.settings.app.env
    return env, (run_dir(installation.home), str(env), str(market))


@contextlib.contextmanager
def _held_if_free(installation: Installation, env: Env, market: Market) -> Iterator[None]:
    """Hold the account while somebody stands in for its session, unless that holds it still."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(SessionBusyError):
            stack.enter_context(bootstrap.account_held(installation.home, env, market))
        yield


def _open_ledger(installation: Installation, env: Env, market: Market) -> Ledger:
    """Return the ledger of the account; an empty one in memory where nothing was ever traded."""
    if not bootstrap.ledger_path(installation.home, env, market).exists():
        return MemoryLedger()
    return bootstrap.open_ledger(installation.home, env, market)


def _session_at_hand(ledger: Ledger, env: Env, market: Market) -> date:
    """Return today at the market, in a demo the recorded session that was begun last."""
    begun = [record.session for record in ledger.read(RecordKind.SESSION)]
    if env is Env.DEMO and begun:
        return begun[-1]
    return WallClock().now().astimezone(ZoneInfo(market.timezone_name)).date()


def _left_open(
    installation: Installation, env: Env, market: Market, said: Standing | None
) -> tuple[tuple[str, ...], int]:
    """Return what a session that was not finished has left.

    What else restricts it, and how many of its orders may still be open; not those for which a
    cancel has left, because whoever sent it said what came of it. ``said`` is written into
    the ledger before; ``None`` where somebody else holds the account: its next session writes it.
    """
    if not bootstrap.ledger_path(installation.home, env, market).exists():
        return (), 0
    try:
        ledger = bootstrap.open_ledger(installation.home, env, market, read_only=said is None)
        try:
            session = _session_at_hand(ledger, env, market)
            if said is not None:
                _append_word(ledger, session, said)
            recorded = read_session(ledger, session)
        finally:
            ledger.close()
    except (LedgerError, DataError) as error:
        # The word stands in its file: the next session writes it.
        log.error("운영자의 말을 장부에 적지 못함", reason=str(error))
        return (), 0
    if recorded.opened is None or recorded.closed is not None:
        return (), 0
    statuses = [order.status for order in recorded.orders.values()]
    left = sum(one.is_open and one is not OrderStatus.PENDING_CANCEL for one in statuses)
    return recorded.held_by, left


def _append_word(ledger: Ledger, session: date, said: Standing) -> None:
    by = said.by or By.FILE
    now = WallClock().now()
    ledger.append(operator_record(session, now, said.state, said.word, by=by, reason=said.reason))


def _withdrawn(
    installation: Installation,
    env: Env,
    market: Market,
    ledger: Ledger,
    session: date,
    pen: Ledger,
) -> Cancellation:
    """Cancel what is open of ours, written with ``pen``; say it when the venue cannot be asked."""
    work = _withdraw(installation, env, market, ledger, session, Scope.OURS, pen)
    try:
        return asyncio.run(work)
    except TradingError as error:
        log.error("거래소에 미체결 주문을 물어보지 못함", reason=str(error), told=True)
        return Cancellation(failed=(f"거래소에 물어보지 못함: {error}",))


async def _withdraw(
    installation: Installation,
    env: Env,
    market: Market,
    ledger: Ledger,
    session: date,
    scope: Scope,
    pen: Ledger | None = None,
) -> Cancellation:
    from trading.store.lake import Lake

    recorded = read_session(ledger, session)
    is_quiet = not any(order.status.is_open for order in recorded.orders.values())
    if env is Env.DEMO and is_quiet and scope is Scope.OURS:
        # The ledger knows of each order before it leaves, and a demo's exchange ends with its run.
        return Cancellation()
    known: dict[str, Instrument] = {}
    try:
        lake = Lake(installation.home.data_dir / "lake")
        known = {one.symbol: one for one in lake.instruments(market)}
    except DataError as error:
        # The ledger names the shares of our own orders, and a cancel takes no risk.
        log.error("종목 정보를 읽지 못함, 장부의 주문만 취소", reason=str(error))
    for order in recorded.orders.values():
        intent = order.intent
        known.setdefault(intent.symbol, Instrument(symbol=intent.symbol, exchange=intent.exchange))
    async with bootstrap.account_client(installation, env, market, known) as (client, clock):
        return await withdraw(
            client,
            Journal(pen or ledger, session, clock),
            recorded,
            scope=scope,
            exchanges={symbol: one.exchange for symbol, one in known.items()},
        )


def _tell(
    installation: Installation,
    env: Env,
    market: Market,
    said: Standing,
    done: Cancellation,
    *,
    text: str = "",
) -> None:
    """Log the change and send it to whoever is to be told, before this process ends."""
    if not text:
        text = "거래 상태를 바꿨습니다. 도는 세션이 없어 다음 세션부터 따릅니다."
        text += f" ({said.reason})" if said.reason else ""
        log.warning(
            "운영자의 말에 따라 거래 상태 변경",
            market=str(market), env=str(env), state=str(said.state), by=str(said.by),
            said=said.reason,
        )  # fmt: skip
    if done.canceled:
        text += f" 미체결 주문 {len(done.canceled)}건을 취소했습니다."
    if done.failed:
        text += " 하지 못한 것: " + ", ".join(done.failed)
    notifier = bootstrap.open_notifier(installation.home.root)
    notifier.start()
    notifier.send(
        "risk_event",
        {"market": str(market), "environment": str(env), "state": str(said.state), "message": text},
    )
    notifier.close()
