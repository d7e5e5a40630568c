"""The trial ledger: every configuration that was ever evaluated, so that luck can be priced.

The best of many worthless configurations looks good; how good depends on how many were tried
(``measures.deflated_sharpe``). So each one is written down when its result is known, whatever
the result, by whatever command, for good.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trading.domain.arrays import FloatArray
from trading.domain.instrument import Market
from trading.errors import DataError

_BUSY_SECONDS = 60.0
_STORED = np.dtype("<f4")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    market TEXT NOT NULL,
    command TEXT NOT NULL,
    outcome TEXT NOT NULL,
    at TEXT NOT NULL,
    first_session TEXT NOT NULL,
    last_session TEXT NOT NULL,
    configuration TEXT NOT NULL,
    returns BLOB
);
CREATE INDEX IF NOT EXISTS trials_by_identity ON trials (market, identity);
CREATE TRIGGER IF NOT EXISTS trials_keep BEFORE UPDATE ON trials
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS trials_stay BEFORE DELETE ON trials
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


def trials_path(data_dir: Path) -> Path:
    """Return where the trial ledger of an installation is kept."""
    return data_dir / "research" / "trials.db"


class Outcome(StrEnum):
    """How far a trial came."""

    COMPLETE = "complete"
    PRUNED = "pruned"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One evaluation of one configuration.

    Attributes
    ----------
    configuration : mapping
        Everything that was chosen and what it was tried on, as JSON values: strategy and
        parameters, universe, dates, policy, costs. Equal ones are the same configuration.
    returns : ndarray of shape (n_sessions,), optional
        What the account earned from close to close, as fractions; ``None`` where the trial ended
        before its last session.
    """

    market: Market
    command: str
    configuration: Mapping[str, Any]
    first_session: str
    last_session: str
    at: datetime
    outcome: Outcome = Outcome.COMPLETE
    returns: FloatArray | None = None

    @property
    def identity(self) -> str:
        """Thirty-two hex digits that change when anything that was chosen does."""
        body = json.dumps(self.configuration, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(body.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How much was tried on one market.

    ``raw`` counts every evaluation, ``distinct`` every configuration once, ``effective`` the
    independent trials that these are worth; see ``effective_number``.
    """

    raw: int
    distinct: int
    effective: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


class TrialLedger:
    """A journal of trials in one SQLite file: WAL, synchronous=FULL, rows are never changed.

    Many processes may write it. One that is killed loses at most what it was writing, and the
    file is whole.

    Raises
    ------
    DataError
        If the file is no ledger, or takes nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def record(self, *trials: Trial) -> None:
        """Write trials in one transaction, durable on return.

        Of a configuration that is known, the returns are not kept again.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for trial in trials:
                self._insert(trial)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise self._unusable(error) from error

    def _insert(self, trial: Trial) -> None:
        identity, market = trial.identity, str(trial.market)
        returns = None
        if trial.returns is not None and not self._has_returns(market, identity):
            returns = zlib.compress(trial.returns.astype(_STORED).tobytes(), level=1)
        self._connection.execute(
            "INSERT INTO trials (identity, market, command, outcome, at, first_session,"
            " last_session, configuration, returns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                identity,
                market,
                trial.command,
                str(trial.outcome),
                trial.at.isoformat(),
                trial.first_session,
                trial.last_session,
                json.dumps(trial.configuration, sort_keys=True, ensure_ascii=False, default=str),
                returns,
            ),
        )

    def _has_returns(self, market: str, identity: str) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM trials WHERE market = ? AND identity = ? AND returns IS NOT NULL",
            (market, identity),
        ).fetchone()
        return found is not None

    def count(self, market: Market) -> Count:
        """Return how much was tried on ``market``, by any command and strategy."""
        try:
            raw, distinct = self._connection.execute(
                "SELECT COUNT(*), COUNT(DISTINCT identity) FROM trials WHERE market = ?",
                (str(market),),
            ).fetchone()
            rows = self._connection.execute(
                "SELECT first_session, last_session, returns FROM trials"
                " WHERE market = ? AND returns IS NOT NULL",
                (str(market),),
            )
            effective, with_returns = effective_number(
                ((first, last), _unpacked(blob)) for first, last, blob in rows
            )
        except (sqlite3.Error, zlib.error) as error:
            raise self._unusable(error) from error
        return Count(raw=raw, distinct=distinct, effective=effective + distinct - with_returns)

    def returns_of(self, market: Market, identities: Iterable[str]) -> list[FloatArray]:
        """Return the kept returns of configurations, in their order; those without are left out."""
        found = []
        try:
            for identity in identities:
                row = self._connection.execute(
                    "SELECT returns FROM trials WHERE market = ? AND identity = ?"
                    " AND returns IS NOT NULL",
                    (str(market), identity),
                ).fetchone()
                if row is not None:
                    found.append(_unpacked(row[0]))
        except (sqlite3.Error, zlib.error) as error:
            raise self._unusable(error) from error
        return found

    def _unusable(self, error: Exception) -> DataError:
        return DataError(
            f"시도 장부를 쓸 수 없습니다: {self.path} ({error}) — 깨진 파일이면 다른 곳으로 옮기십시오. "
            "그때까지의 시도는 세지 못합니다."
        )


def effective_number(
    trials: Iterable[tuple[tuple[str, str], FloatArray]],
) -> tuple[float, int]:
    r"""Return how many independent trials correlated ones are worth, and how many they are.

    .. math:: \hat N = \sum_g \bar\rho_g + (1 - \bar\rho_g) M_g

    over the groups of trials of the same sessions, with the mean correlation :math:`\bar\rho_g`
    of the :math:`M_g` trials of a group, at least 0. Trials of different sessions, and one whose
    account never moved, count as independent of all others: rather too many than too few.

    Parameters
    ----------
    trials : iterable of ((str, str), ndarray of shape (n_sessions,))
        First and last session, and the returns between them; those of a group are equally long.

    References
    ----------
    .. [1] Bailey, D. H. and López de Prado, M. (2014). "The Deflated Sharpe Ratio: Correcting for
       Selection Bias, Backtest Overfitting, and Non-Normality." Journal of Portfolio Management,
       40(5), 94-107, appendix A.3.
    """
    # The sum of all correlations of standardised rows is the squared length of their sum.
    sums: dict[tuple[str, str, int], tuple[FloatArray, int]] = {}
    alone, count = 0, 0
    for (first, last), returns in trials:
        count += 1
        centered = returns - returns.mean() if len(returns) else returns
        length = float(np.sqrt((centered * centered).sum()))
        if not length > 0.0:
            alone += 1
            continue
        key = (first, last, len(returns))
        total, members = sums.get(key, (np.zeros(len(returns)), 0))
        sums[key] = (total + centered / length, members + 1)
    effective = float(alone)
    for total, members in sums.values():
        pairs = members * (members - 1)
        mean = (float((total * total).sum()) - members) / pairs if pairs else 0.0
        mean = min(max(mean, 0.0), 1.0)
        effective += mean + (1.0 - mean) * members
    return effective, count


def _unpacked(blob: bytes) -> FloatArray:
    return np.frombuffer(zlib.decompress(blob), dtype=_STORED).astype(np.float64)
