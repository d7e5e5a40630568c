"""What the pages read: ledgers, reports, models, logs; everything read-only and read once.

A file is read again when its time or size has changed. What is missing raises ``MissingDataError``,
what is broken ``DataError``, each with a sentence that says how to get it.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from trading import bootstrap, holdings, overview
from trading.context import Run, heartbeat_path, report_dir
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.decision import Decision
from trading.domain.instrument import Market
from trading.domain.order import Fill, OrderIntent, OrderStatus
from trading.domain.wording import MARKET_TEXT
from trading.errors import DataError, MissingDataError
from trading.live.journal import CLOSED, OPENED, RecordedFill, RecordedSession, read_session
from trading.mlops import tracking
from trading.monitoring import Heartbeat, read_heartbeat
from trading.overview import AccountNow
from trading.ports import Record, RecordKind

if TYPE_CHECKING:
    import pandas as pd

    from trading.config import Home
    from trading.store.ledger import SqliteLedger

ENV_TEXT: Final = {"demo": "데모", "paper": "모의투자", "real": "실전"}
# The end of a log that is read: enough for days, little enough to be read in a blink.
_TAIL_BYTES: Final = 4_000_000
# A session beats every ten seconds; one that has not for so long may hang.
SILENT_SECONDS: Final = 60.0
_WISHES: Final = (RecordKind.INTENT, RecordKind.VERDICT, RecordKind.MANUAL)
_ORDER_KINDS: Final = (*_WISHES, RecordKind.UPDATE, RecordKind.FILL, RecordKind.MANUAL_FILL)
_MADE_BY: Final = {
    "performance": "세션이 끝나면 남고, trading report --session 날짜 로 다시 만듭니다.",
    "risk": "세션이 끝나면 남고, trading report --session 날짜 로 다시 만듭니다.",
    "briefing": "장전 단계(premarket)가 남깁니다. trading demo 나 trading run 이 그 단계를 돌립니다.",
    "quality": "시세를 받는 단계(market-data)가 남깁니다. 지금 다시 보려면 trading data quality 를 돌리십시오.",
    "models": "trading train 이 남깁니다.",
    "health": "세션이 끝난 뒤의 점검이 남깁니다.",
    "lake": "trading demo 가 채우고, trading data import 로도 채웁니다.",
}
# A file's time and size: another stamp is another content.
Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account of the home: an environment and a market."""

    env: str
    market: Market

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{ENV_TEXT.get(self.env, self.env)} · {MARKET_TEXT[self.market]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The sessions that an account has begun and closed, in order, and what it earned in each.

    ``returns`` are the account's own, by the session that made them: money brought or taken is none.
    """

    begun: tuple[date, ...]
    closed: tuple[date, ...]
    returns: tuple[tuple[date, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """One order of an account, with what became of it; money in minor units.

    ``denied`` is the guard's code of one that never left, ``reason`` why it was wished, ``answer``
    what the venue or we said of it last.
    """

    session: date
    intent: OrderIntent
    ts: datetime
    status: OrderStatus
    venue_order_id: str = ""
    answer: str = ""
    denied: str = ""
    fills: tuple[Fill, ...] = ()
    commission: int = 0
    tax: int = 0
    realized: int = 0
    by_hand: bool = False

    @property
    def filled_quantity(self) -> int:
        """Shares filled."""
        return sum(fill.quantity for fill in self.fills)

    @property
    def average_fill(self) -> float | None:
        """Average fill price in minor units; ``None`` when nothing was filled."""
        quantity = self.filled_quantity
        return sum(fill.amount for fill in self.fills) / quantity if quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPoint:
    """What one session's holdings may lose in a day, and what the next session's return was.

    Fractions of equity; ``None`` where the record does not tell.
    """

    session: date
    var: float | None
    limit: float | None
    next_session: date | None = None
    next_return: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether there is something to compare; an evening without holdings forecast nothing."""
        return bool(self.var) and self.next_return is not None

    @property
    def is_exception(self) -> bool:
        """Whether the loss was larger than the VaR told the evening before."""
        return self.is_told and -(self.next_return or 0.0) > (self.var or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """The last lines of one log file, newest first, and how many lines were no JSON."""

    lines: tuple[Mapping[str, Any], ...]
    broken: int
    is_cut: bool


def accounts(home: "Home") -> list[Account]:
    """Return the accounts that have a ledger, in the order of environment and market."""
    found = []
    for path in sorted((home.data_dir / "ledger").glob("*.db")):
        env, _, market = path.stem.partition("-")
        # A file without a byte is one whose maker was killed before it wrote.
        if market in set(Market) and path.stat().st_size:
            found.append(Account(env=env, market=Market(market)))
    return sorted(
        found, key=lambda a: (list(ENV_TEXT).index(a.env) if a.env in ENV_TEXT else 9, a.market)
    )


def read_json(path: Path, hint: str) -> Any:
    """Return the content of a JSON file; ``hint`` says how one gets it."""
    try:
        return _json(path, stamp(path))
    except FileNotFoundError:
        raise MissingDataError(f"아직 없습니다: {path}. {hint}") from None
    except (ValueError, OSError) as error:
        raise DataError(
            f"읽을 수 없는 파일입니다: {path}. 지우고 다시 만드십시오. {hint}"
        ) from error


def stamp(path: Path) -> Stamp:
    """Return the time and size of a file; ``FileNotFoundError`` when there is none."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=512)
def _json(path: Path, _stamp: Stamp) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# --- the ledger -----------------------------------------------------------------------------------


def story(home: "Home", account: Account) -> Story:
    """Return an account's sessions and how each ended."""
    return _story(home, account, _ledger_stamp(home, account))


def orders(home: "Home", account: Account) -> tuple[PlacedOrder, ...]:
    """Return every order of an account, those by hand and those denied included, oldest first."""
    return _orders(home, account, _ledger_stamp(home, account))


def session(home: "Home", account: Account, day: date) -> RecordedSession:
    """Return everything that the ledger knows of one session."""
    return _session(home, account, day, _ledger_stamp(home, account))


def decision(home: "Home", account: Account, day: date) -> Decision:
    """Return the decision of one session; ``MissingDataError`` when none was taken."""
    found = session(home, account, day).decision
    if found is None:
        raise MissingDataError(
            f"{day} 세션에는 아직 판단이 없습니다. 판단은 개장 때 한 번 적힙니다."
        )
    return found


def account_now(home: "Home", account: Account) -> AccountNow:
    """Return the account as it is now."""
    with _told(home, account):
        return overview.account_now(home, account.env, account.market)


def zone_of(market: Market) -> ZoneInfo:
    """Return the time zone of a market's own hours."""
    return ZoneInfo(market.timezone_name)


def heartbeat(home: "Home", account: Account) -> Heartbeat | None:
    """Return the last sign of life of an account's session; ``None`` when it never gave one."""
    path = heartbeat_path(home, account.env, account.market)
    try:
        return read_heartbeat(path)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DataError(
            f"심박 파일을 읽을 수 없습니다: {path}. 세션이 다음 심박에 다시 씁니다."
        ) from error


def _ledger_stamp(home: "Home", account: Account) -> tuple[Stamp, ...]:
    """Return what changes whenever somebody writes: the file itself and its write-ahead log."""
    path = bootstrap.ledger_path(home, account.env, account.market)
    found = []
    for part in (path, path.with_name(path.name + "-wal")):
        try:
            found.append(stamp(part))
        except FileNotFoundError:
            found.append((0, 0))
    return tuple(found)


@contextlib.contextmanager
def _reading(home: "Home", account: Account) -> Iterator["SqliteLedger"]:
    """Open the ledger of an account beside whoever writes it."""
    with _told(home, account):
        ledger = bootstrap.open_ledger(home, account.env, account.market, read_only=True)
        with contextlib.closing(ledger):
            yield ledger


@contextlib.contextmanager
def _told(home: "Home", account: Account) -> Iterator[None]:
    """Say in Korean that a ledger cannot be read, whatever SQLite or a row of it says."""
    try:
        yield
    except (sqlite3.Error, json.JSONDecodeError) as error:
        path = bootstrap.ledger_path(home, account.env, account.market)
        raise DataError(
            f"장부를 읽지 못했습니다: {path} ({error}). 곧 다시 봅니다. 이어지면 trading check 로 살펴보십시오."
        ) from error


@lru_cache(maxsize=16)
def _story(home: "Home", account: Account, _stamps: tuple[Stamp, ...]) -> Story:
    with _reading(home, account) as ledger:
        run = Run.latest(ledger)
        begun: set[date] = set()
        equity: dict[date, int] = {}
        for record in ledger.read(RecordKind.SESSION):
            if record.key.endswith(OPENED):
                begun.add(record.session)
            elif record.key.endswith(CLOSED):
                equity[record.session] = record.body["equity"]
        closed = sorted(equity)
        returns: list[tuple[date, float]] = []
        if run is not None and closed:
            curve = [(closed[0] - timedelta(days=1), run.starting_cash)]
            curve += [(day, equity[day]) for day in closed]
            of_account = holdings.account_returns(ledger, curve).tolist()
            returns = list(zip(closed, of_account, strict=True))
            # Of an account that held something when it was taken over the first point is its cash.
            returns = returns[1:] if run.positions else returns
    return Story(
        begun=tuple(sorted(begun | equity.keys())), closed=tuple(closed), returns=tuple(returns)
    )


@lru_cache(maxsize=16)
def _session(
    home: "Home", account: Account, day: date, _stamps: tuple[Stamp, ...]
) -> RecordedSession:
    with _reading(home, account) as ledger:
        return read_session(ledger, day)


@lru_cache(maxsize=16)
def _orders(home: "Home", account: Account, _stamps: tuple[Stamp, ...]) -> tuple[PlacedOrder, ...]:
    from trading.store.ledger import MemoryLedger

    # Decisions and marks are most of a ledger, and tell nothing of orders.
    by_session: dict[date, list[Record]] = {}
    with _reading(home, account) as ledger:
        for record in ledger.read(*_ORDER_KINDS):
            by_session.setdefault(record.session, []).append(record)
    found: list[PlacedOrder] = []
    for day, records in by_session.items():
        one_day = MemoryLedger()
        one_day.append(*records)
        wished = {r.body["intent_id"]: r.ts for r in records if r.kind in _WISHES}
        found += _placed(day, read_session(one_day, day), wished)
    return tuple(sorted(found, key=lambda one: (one.ts, one.intent.intent_id)))


def _placed(
    day: date, recorded: RecordedSession, wished: Mapping[str, datetime]
) -> Iterator[PlacedOrder]:
    fills: dict[str, list[RecordedFill]] = {}
    for one in recorded.booked:
        fills.setdefault(one.intent_id, []).append(one)
    for order in (*recorded.orders.values(), *recorded.manual.values()):
        intent = order.intent
        of_order = fills.get(intent.intent_id, [])
        yield PlacedOrder(
            session=day,
            intent=intent,
            ts=wished[intent.intent_id],
            status=overview.status_with_fills(order, sum(one.fill.quantity for one in of_order)),
            venue_order_id=order.venue_order_id,
            answer=order.reason,
            fills=tuple(one.fill for one in of_order),
            commission=sum(one.commission for one in of_order),
            tax=sum(one.tax for one in of_order),
            realized=sum(one.realized for one in of_order),
            by_hand=intent.intent_id in recorded.manual,
        )
    for intent, code in recorded.denied:
        yield PlacedOrder(
            session=day,
            intent=intent,
            ts=wished[intent.intent_id],
            status=OrderStatus.DENIED,
            denied=code,
        )


# --- reports, models, lake ------------------------------------------------------------------------


def report(home: "Home", account: Account, day: date, name: str) -> Any:
    """Return one of the JSON files beside a session's report: ``risk``, ``briefing``, ``quality``."""
    return read_json(_folder(home, account, day) / f"{name}.json", _MADE_BY[name])


def _folder(home: "Home", account: Account, day: date) -> Path:
    return report_dir(home, account.env, account.market, day)


def benchmark(home: "Home", account: Account) -> tuple[str, dict[date, float]]:
    """Return the name and the levels of what the account is held against, from its last report.

    Raises
    ------
    MissingDataError
        If no session of the account has a report yet.
    """
    for day in reversed(story(home, account).closed):
        path = _folder(home, account, day) / f"performance_{day}.json"
        if path.exists():
            body = read_json(path, _MADE_BY["performance"])
            found = body["benchmark"]
            if found is None:
                raise MissingDataError("비교할 지수나 종목군의 기록이 없습니다.")
            return found["name"], {date.fromisoformat(d): level for d, level in found["curve"]}
    raise MissingDataError(
        f"끝난 세션의 보고서가 아직 없어 기준 지표를 그릴 수 없습니다. {_MADE_BY['performance']}"
    )


def risk_history(home: "Home", account: Account) -> list[RiskPoint]:
    """Return the VaR of every session that has a risk report, with the return that followed it."""
    told = story(home, account)
    following = dict(pairwise(told.closed))
    returns = dict(told.returns)
    points = []
    for day in told.closed:
        path = _folder(home, account, day) / "risk.json"
        try:
            var, limit = _var_line(path, stamp(path))
        except FileNotFoundError:
            continue
        after = following.get(day)
        points.append(
            RiskPoint(
                session=day,
                var=var,
                limit=limit,
                next_session=after,
                next_return=returns.get(after) if after is not None else None,
            )
        )
    return points


@lru_cache(maxsize=4096)
def _var_line(path: Path, _stamp: Stamp) -> tuple[float | None, float | None]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        line = next(one for one in body["limits"] if one["name"] == "var")
        return line["value"], line["limit"]
    except (ValueError, KeyError, StopIteration):
        return None, None


def quality_history(home: "Home", account: Account) -> list[tuple[date, Mapping[str, Any]]]:
    """Return what the data check of each session's morning found, oldest first."""
    found = []
    for day in story(home, account).begun:
        path = _folder(home, account, day) / "quality.json"
        if path.exists():
            found.append((day, read_json(path, _MADE_BY["quality"])))
    return found


def last_quality_checks(home: "Home") -> dict[str, Any]:
    """Return the last data checks by the name of their file, with every finding and its page."""
    folder = home.data_dir / "reports" / "quality"
    return {
        path.stem: read_json(path, _MADE_BY["quality"]) for path in sorted(folder.glob("*.json"))
    }


def models(home: "Home", market: Market) -> list[Mapping[str, Any]]:
    """Return each family that was ever taught on ``market``.

    ``family``, ``trades`` (the version that votes, or ``None``), ``latest`` (its last training, or
    ``None``), ``versions``: each version that has an alias or was trained last, with ``version``,
    ``aliases`` and the gate's ``verdict`` (``None`` where its page is gone). Read from the files
    beside the models and the registry's table of aliases; MLflow itself takes seconds.
    """
    folder = home.data_dir / "models" / market
    known = tracking.aliases(home.mlruns_dir) or {}
    found: list[Mapping[str, Any]] = []
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        name = f"{path.name}-{market}"
        latest = _optional(path / "latest.json")
        champion = _optional(path / "champion.json")
        by_version: dict[int, list[str]] = {}
        for alias, version in known.get(name, {}).items():
            by_version.setdefault(version, []).append(alias)
        for body in (latest, champion):
            if body is not None:
                by_version.setdefault(body["version"], [])
        pages = home.data_dir / "reports" / "models" / name
        found.append(
            {
                "family": path.name,
                "trades": champion["version"] if champion is not None else None,
                "latest": latest,
                "versions": [
                    {
                        "version": version,
                        "aliases": sorted(by_version[version]),
                        "verdict": _optional(pages / f"{version}.json"),
                        "page": pages / f"{version}.html",
                    }
                    for version in sorted(by_version, reverse=True)
                ],
            }
        )
    return found


def health_history(home: "Home", market: Market) -> list[Mapping[str, Any]]:
    """Return how the champions of ``market`` stood after each session, oldest first."""
    folder = home.data_dir / "health" / market
    return [read_json(path, _MADE_BY["health"]) for path in sorted(folder.glob("*.json"))]


def lake_status(home: "Home") -> Mapping[str, Any]:
    """Return what the lake holds, from its manifests."""
    from trading.store.lake import Lake

    root = home.data_dir / "lake"
    if not root.is_dir():
        raise MissingDataError(f"시세 저장소가 아직 없습니다: {root}. {_MADE_BY['lake']}")
    return Lake(root).status()


def daily_bars(
    home: "Home", market: Market, symbol: str, first: date, last: date
) -> "pd.DataFrame":
    """Return recorded daily bars of one symbol, prices as traded, in minor units."""
    manifest = home.data_dir / "lake" / "clean" / f"market={market.upper()}" / "kind=daily"
    try:
        mark = stamp(manifest / "manifest.json")
    except FileNotFoundError:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 일봉이 저장소에 없습니다. {_MADE_BY['lake']}"
        ) from None
    return _daily(home, market, symbol, first, last, mark)


@lru_cache(maxsize=64)
def _daily(
    home: "Home", market: Market, symbol: str, first: date, last: date, _stamp: Stamp
) -> "pd.DataFrame":
    from trading.store.lake import Lake

    frame = Lake(home.data_dir / "lake").daily(market, [symbol], first, last)
    return frame.sort_values("session", ignore_index=True)


def splits(
    home: "Home", market: Market, symbol: str, first: date, last: date
) -> list[CorporateAction]:
    """Return the splits of one symbol from ``first`` to ``last``, oldest first."""
    from trading.store.lake import Lake

    found = Lake(home.data_dir / "lake").actions(market, first, last)
    return [one for one in found if one.symbol == symbol and one.kind is ActionKind.SPLIT]


def names(home: "Home", market: Market) -> Mapping[str, str]:
    """Return the name of each symbol that the lake knows."""
    manifest = home.data_dir / "lake" / "clean" / f"market={market.upper()}" / "kind=instruments"
    try:
        return _names(home, market, stamp(manifest / "manifest.json"))
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=8)
def _names(home: "Home", market: Market, _stamp: Stamp) -> Mapping[str, str]:
    from trading.store.lake import Lake

    return {one.symbol: one.name for one in Lake(home.data_dir / "lake").instruments(market)}


def _optional(path: Path) -> Any | None:
    return read_json(path, _MADE_BY["models"]) if path.exists() else None


# --- logs and messages ----------------------------------------------------------------------------


def log_files(home: "Home", name: str) -> list[Path]:
    """Return the files of one log, the one written now first, then the days before."""
    folder = home.logs_dir
    current = folder / f"{name}.jsonl"
    past = sorted(folder.glob(f"{name}-????-??-??.jsonl"), reverse=True)
    return [*([current] if current.exists() else []), *past]


def watched(home: "Home", account: Account) -> list[Heartbeat]:
    """Return the signs of life that the monitor has noted of an account's sessions, oldest first.

    Of its last two hours that it ran; empty where it never did.
    """
    files = sorted((home.logs_dir / "monitor").glob("*.jsonl"))[-2:]
    found: dict[datetime, Heartbeat] = {}
    for path in files:
        for line in reversed(log_tail(path).lines):
            beat = line.get("heartbeat")
            if beat and (line.get("account") or {}).get("env") == account.env:
                ts = datetime.fromisoformat(beat["ts"])
                one = Heartbeat(**beat | {"ts": ts, "venue_ts": None})
                if one.market == account.market:
                    found[one.ts] = one
    return [found[ts] for ts in sorted(found)]


def log_tail(path: Path) -> LogPage:
    """Return the end of a log file, newest line first.

    Raises
    ------
    MissingDataError
        If there is no such file.
    """
    try:
        return _log_tail(path, stamp(path))
    except FileNotFoundError:
        raise MissingDataError(f"로그 파일이 없습니다: {path}") from None


@lru_cache(maxsize=8)
def _log_tail(path: Path, found: Stamp) -> LogPage:
    size = found[1]
    with path.open("rb") as file:
        is_cut = size > _TAIL_BYTES
        if is_cut:
            file.seek(size - _TAIL_BYTES)
            # The first line is only its end.
            file.readline()
        raw = file.read().splitlines()
    lines, broken = [], 0
    for text in reversed(raw):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            broken += 1
    return LogPage(lines=tuple(lines), broken=broken, is_cut=is_cut)
