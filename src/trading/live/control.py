"""The operator's standing word on one account: a file beside the session, and the kill switch.

``<run>/<env>-<market>.control.json`` keeps what the operator wishes until he wishes otherwise, and
what the session answered; an existing ``<run>/HALT`` stops every account of the home. Both need no
server and no session. Who obeys is ``live.session``; ``trading.supervision`` asks as a user does,
tells whoever is to be told, and cancels where no session runs.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from trading.clock import WallClock
from trading.domain.decision import TradingState
from trading.errors import DataError

HALT_FILE = "HALT"

_LOCK_SECONDS = 5.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNREADABLE = "제어 파일을 읽을 수 없음"


class By(StrEnum):
    """Who gave the word."""

    CLI = "cli"
    DASHBOARD = "dashboard"
    FILE = "file"
    DEAD_MAN = "dead_man"


class Scope(StrEnum):
    """Which open orders are to be canceled: those of this program, or those by hand as well."""

    OURS = "ours"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What became of open orders: the numbers canceled, and a Korean sentence for each that was not."""

    canceled: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAll:
    """A request to cancel open orders; ``answer`` is ``None`` until somebody carried it out."""

    request: str
    ts: datetime
    by: By
    reason: str
    scope: Scope
    answer: Cancellation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Obeyed:
    """What a session last did about the word.

    ``state`` is what it may do now and ``held_by`` the codes of whatever restricts it besides the
    operator; ``withdrawn`` are the orders that it took back because of the word.
    """

    request: str
    state: TradingState
    ts: datetime
    pid: int
    held_by: tuple[str, ...]
    withdrawn: Cancellation = Cancellation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The operator's word as it stands now.

    ``state`` counts; ``word`` is what was asked for and comes back when the kill switch is gone.
    Not ``is_given``, nobody has said anything here: then a session goes by what its ledger holds.
    """

    state: TradingState
    word: TradingState
    is_given: bool
    since: datetime | None
    by: By | None
    reason: str
    request: str
    cancel_all: CancelAll | None
    obeyed: Obeyed | None


def read(run_dir: Path, env: str, market: str) -> Standing:
    """Return the word on an account; what cannot be read counts as a halt."""
    path = _path(run_dir, env, market)
    try:
        asked = _standing(_body(path))
    except (OSError, ValueError, KeyError, TypeError):
        asked = _unreadable(f"{_UNREADABLE}: {path}")
    halted_since = _switched_off(run_dir)
    if halted_since is None:
        return asked
    return Standing(
        state=TradingState.HALTED,
        word=asked.word,
        is_given=asked.is_given,
        since=halted_since,
        by=By.FILE,
        reason=str(run_dir / HALT_FILE),
        request=asked.request,
        cancel_all=asked.cancel_all,
        obeyed=asked.obeyed,
    )


def ask(
    run_dir: Path, env: str, market: str, state: TradingState, *, by: By, reason: str = ""
) -> Standing:
    """Leave the word ``state``; it stands until the next one. Returns what stands now.

    Raises ``DataError`` when it cannot be written: then nothing has changed.
    """
    asked = {
        "state": str(state),
        "since": WallClock().now().isoformat(),
        "by": str(by),
        "reason": reason,
        "request": uuid4().hex,
    }
    with _changing(_path(run_dir, env, market), mends=True) as body:
        body.update(asked)
    return read(run_dir, env, market)


def ask_cancel_all(
    run_dir: Path, env: str, market: str, *, by: By, scope: Scope = Scope.OURS, reason: str = ""
) -> CancelAll:
    """Leave a request to cancel open orders; raises as ``ask`` does."""
    asked = CancelAll(request=uuid4().hex, ts=WallClock().now(), by=by, reason=reason, scope=scope)
    with _changing(_path(run_dir, env, market)) as body:
        body["cancel_all"] = {
            "request": asked.request,
            "ts": asked.ts.isoformat(),
            "by": str(by),
            "reason": reason,
            "scope": str(scope),
            "answer": None,
        }
    return asked


def answer_cancel_all(
    run_dir: Path, env: str, market: str, request: str, done: Cancellation
) -> None:
    """Write what became of a request, unless another one has taken its place."""
    with _changing(_path(run_dir, env, market)) as body:
        asked = body.get("cancel_all")
        if asked is not None and asked["request"] == request:
            asked["answer"] = _cancellation_body(done)


class Watch:
    """Notices when the word on one account has changed: two ``stat`` a look."""

    def __init__(self, run_dir: Path, env: str, market: str) -> None:
        self._place = run_dir, env, market
        self._files = _path(run_dir, env, market), run_dir / HALT_FILE
        self._seen: object = None

    def read(self) -> Standing:
        """Return the word, whether or not it is news."""
        return read(*self._place)

    def news(self) -> Standing | None:
        """Return the word when a file has changed since the last look, else ``None``."""
        signs = tuple(_sign(path) for path in self._files)
        if signs == self._seen:
            return None
        self._seen = signs
        return read(*self._place)

    def answer(
        self,
        said: Standing,
        state: TradingState,
        held_by: Sequence[str],
        withdrawn: Cancellation,
    ) -> None:
        """Write what the session did about ``said``, where that is not there already.

        Raises ``DataError`` when it cannot be written.
        """
        codes, before = tuple(dict.fromkeys(held_by)), said.obeyed
        is_silent = not said.request and state is TradingState.ACTIVE and before is None
        told = (said.request, state, codes, os.getpid())
        if is_silent or (
            before is not None
            and (before.request, before.state, before.held_by, before.pid) == told
        ):
            return
        with _changing(self._files[0]) as body:
            body["obeyed"] = {
                "request": said.request,
                "state": str(state),
                "ts": WallClock().now().isoformat(),
                "pid": os.getpid(),
                "held_by": list(codes),
                "withdrawn": _cancellation_body(withdrawn),
            }

    def answer_cancel_all(self, request: str, done: Cancellation) -> None:
        """See ``control.answer_cancel_all``."""
        answer_cancel_all(*self._place, request, done)


def _path(run_dir: Path, env: str, market: str) -> Path:
    return run_dir / f"{env}-{market}.control.json"


def _sign(path: Path) -> object:
    try:
        found = path.lstat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def _switched_off(run_dir: Path) -> datetime | None:
    """Return since when the kill switch lies there, ``None`` when it does not."""
    try:
        return datetime.fromtimestamp((run_dir / HALT_FILE).lstat().st_mtime, UTC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        # A folder that cannot be looked into may hold it.
        return WallClock().now()


def _body(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("object expected")
    return body


def _unreadable(reason: str) -> Standing:
    return Standing(
        state=TradingState.HALTED,
        word=TradingState.HALTED,
        is_given=True,
        since=WallClock().now(),
        by=By.FILE,
        reason=reason,
        request="",
        cancel_all=None,
        obeyed=None,
    )


def _standing(body: Mapping[str, Any]) -> Standing:
    state = TradingState(body.get("state", TradingState.ACTIVE))
    return Standing(
        state=state,
        word=state,
        is_given="state" in body,
        since=datetime.fromisoformat(body["since"]) if "state" in body else None,
        by=By(body["by"]) if "state" in body else None,
        reason=body.get("reason", ""),
        request=body.get("request", ""),
        cancel_all=_cancel_all(body.get("cancel_all")),
        obeyed=_obeyed(body.get("obeyed")),
    )


def _cancel_all(body: Mapping[str, Any] | None) -> CancelAll | None:
    if body is None:
        return None
    done = body["answer"]
    return CancelAll(
        request=body["request"],
        ts=datetime.fromisoformat(body["ts"]),
        by=By(body["by"]),
        reason=body["reason"],
        scope=Scope(body["scope"]),
        answer=_cancellation(done) if done is not None else None,
    )


def _obeyed(body: Mapping[str, Any] | None) -> Obeyed | None:
    if body is None:
        return None
    return Obeyed(
        request=body["request"],
        state=TradingState(body["state"]),
        ts=datetime.fromisoformat(body["ts"]),
        pid=body["pid"],
        held_by=tuple(body["held_by"]),
        withdrawn=_cancellation(body["withdrawn"]),
    )


def _cancellation(body: Mapping[str, Any]) -> Cancellation:
    return Cancellation(canceled=tuple(body["canceled"]), failed=tuple(body["failed"]))


def _cancellation_body(done: Cancellation) -> dict[str, Any]:
    return {"canceled": list(done.canceled), "failed": list(done.failed)}


@contextlib.contextmanager
def _changing(path: Path, *, mends: bool = False) -> Iterator[dict[str, Any]]:
    """Yield what the file holds and write what became of it: whole, durable, for this user alone.

    Asking and answering processes change it one after the other. Only a new word ``mends`` a file
    that nobody can read: anything else would turn the halt that it counts as into no word at all.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            body: dict[str, Any] = {}
            try:
                body = _body(path)
                _standing(body)
            except (ValueError, KeyError, TypeError) as error:
                if not mends:
                    raise DataError(
                        f"{_UNREADABLE}: {path} — trading halt, reduce, resume 가운데 하나로 다시 말해 주세요"
                    ) from error
                body = {}
            yield body
            _write(path, json.dumps(body, ensure_ascii=False, indent=1))
    except Timeout:
        raise DataError(f"다른 프로그램이 제어 파일을 잡고 놓지 않습니다: {path}") from None
    except OSError as error:
        why = "디스크에 자리가 없음" if error.errno in _NO_SPACE else error.strerror or str(error)
        raise DataError(
            f"제어 파일을 쓰지 못했습니다: {path} ({why}). 급하면 빈 파일 {path.parent / HALT_FILE} 을 "
            "만들어 모든 거래를 멈출 수 있습니다."
        ) from error


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
