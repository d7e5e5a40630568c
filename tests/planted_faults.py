"""Faults planted into recorded data, each kind as a function of a clean frame and a generator.

What a fault touches is known, so a gate's detections and false alarms can be counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from trading.store import quality

PRICES = ["open", "high", "low", "close"]
BAR = [*PRICES, "volume"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault: the keys (name, session) that tell of it.

    ``wrong`` are the rows that should be set aside, ``touched`` those that the fault changed as
    well and that may be: to set aside any other row is a false alarm.
    """

    keys: frozenset[tuple[str, pd.Timestamp]]
    wrong: frozenset[tuple[str, pd.Timestamp]] = frozenset()
    touched: frozenset[tuple[str, pd.Timestamp]] = frozenset()


@dataclass(slots=True)
class Planted:
    """A frame with its faults."""

    frame: pd.DataFrame
    faults: list[Fault] = field(default_factory=list)


Plant = Callable[[pd.DataFrame, np.random.Generator, int], Planted]


def liquid(frame: pd.DataFrame, name: str = "symbol", rows: int = 80) -> list[str]:
    """Return the names that trade on most of their rows, in order."""
    traded = frame.assign(traded=frame["volume"] > 10_000).groupby(name)["traded"]
    size, share = traded.size(), traded.mean()
    return sorted(size.index[(size >= rows) & (share > 0.95)])


def _runs(
    frame: pd.DataFrame, rng: np.random.Generator, count: int, length: int, margin: int = 3
) -> list[pd.Index]:
    """Return rows of ``count`` symbols, each a run of ``length`` that starts after ``margin``."""
    names = liquid(frame, rows=length + 2 * margin + 1)
    chosen = rng.choice(names, min(count, len(names)), replace=False)
    found = []
    for name in chosen:
        rows = frame.index[frame["symbol"] == name]
        rows = rows[np.argsort(frame.loc[rows, "session"].to_numpy(), kind="stable")]
        start = int(rng.integers(margin, len(rows) - length - margin + 1))
        found.append(rows[start : start + length])
    return found


def _keys(frame: pd.DataFrame, rows: pd.Index) -> frozenset[tuple[str, pd.Timestamp]]:
    picked = frame.loc[rows]
    return frozenset(zip(picked["symbol"], picked["session"], strict=True))


def scaled(factor: float, columns: list[str], length: int = 1) -> Plant:
    """Return a plant that multiplies columns of single rows, or of runs."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        for rows in _runs(frame, rng, count, length):
            values = planted.frame.loc[rows, columns].to_numpy(dtype=np.float64) * factor
            planted.frame.loc[rows, columns] = np.maximum(np.rint(values), 1).astype(np.int64)
            keys = _keys(frame, rows)
            planted.faults.append(Fault(keys, keys))
        return planted

    return plant


def swapped(first: str, second: str, length: int = 1) -> Plant:
    """Return a plant that exchanges two columns; rows where they are equal are not chosen."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        for rows in _runs(frame, rng, count, length):
            rows = rows[(frame.loc[rows, first] != frame.loc[rows, second]).to_numpy()]
            if not len(rows):
                continue
            planted.frame.loc[rows, [first, second]] = frame.loc[rows, [second, first]].to_numpy()
            keys = _keys(frame, rows)
            planted.faults.append(Fault(keys, keys))
        return planted

    return plant


def split_left_out(ratio: int) -> Plant:
    """Return a plant after which a symbol trades at a fraction, with no action to explain it."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        for (row,) in _runs(frame, rng, count, 1, margin=25):
            symbol, session = frame.loc[row, "symbol"], frame.loc[row, "session"]
            later = (frame["symbol"] == symbol) & (frame["session"] >= session)
            prices = frame.loc[later, PRICES].to_numpy() // ratio
            planted.frame.loc[later, PRICES] = np.maximum(prices, 1)
            planted.frame.loc[later, "volume"] = frame.loc[later, "volume"] * ratio
            touched = _keys(frame, frame.index[later])
            planted.faults.append(Fault(frozenset({(symbol, session)}), touched=touched))
        return planted

    return plant


def moved_dates(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Date all rows of a symbol, from some day on, one session late."""
    planted = Planted(frame.copy())
    days = np.sort(frame["session"].unique())
    following = {pd.Timestamp(a): pd.Timestamp(b) for a, b in pairwise(days)}
    following[pd.Timestamp(days[-1])] = pd.Timestamp(days[-1]) + pd.Timedelta(days=1)
    for (row,) in _runs(frame, rng, count, 1, margin=20):
        symbol, session = frame.loc[row, "symbol"], frame.loc[row, "session"]
        later = (frame["symbol"] == symbol) & (frame["session"] >= session)
        moved = frame.loc[later, "session"].map(following)
        planted.frame.loc[later, "session"] = moved
        # The day that lost its row is a gap before the first moved row; the last has no session.
        planted.faults.append(Fault(frozenset({(symbol, moved.min()), (symbol, moved.max())})))
    return planted


def moved_values(length: int) -> Plant:
    """Return a plant that leaves the dates and moves a run's bars one session later."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        for rows in _runs(frame, rng, count, length + 1):
            planted.frame.loc[rows[1:], BAR] = frame.loc[rows[:-1], BAR].to_numpy()
            planted.faults.append(Fault(_keys(frame, rows[1:])))
        return planted

    return plant


def copied_day(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Write one session's bars under the date of another."""
    planted = Planted(frame.copy())
    days = np.sort(frame["session"].unique())
    chosen = rng.choice(np.arange(5, len(days) - 5), min(count, 3), replace=False)
    for at in chosen:
        day, other = days[at], days[at + int(rng.choice([-4, -2, -1, 1, 2, 4]))]
        source = frame.loc[frame["session"] == other].set_index("symbol")[BAR]
        rows = frame.index[(frame["session"] == day) & frame["symbol"].isin(source.index)]
        planted.frame.loc[rows, BAR] = source.loc[frame.loc[rows, "symbol"]].to_numpy()
        keys = _keys(frame, rows)
        planted.faults.append(Fault(keys, keys))
    return planted


def weekend_copy(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Add a session's rows once more under the next Saturday."""
    days = frame["session"].unique()
    day = pd.Timestamp(days[int(rng.integers(5, len(days) - 10))])
    saturday = day + pd.Timedelta(days=(5 - day.dayofweek) % 7)
    extra = frame.loc[frame["session"] == day].assign(session=saturday)
    keys = frozenset((symbol, saturday) for symbol in extra["symbol"])
    return Planted(pd.concat([frame, extra], ignore_index=True), [Fault(keys, keys)])


def batch_twice(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Add a session's rows twice."""
    days = frame["session"].unique()
    day = days[int(rng.integers(len(days)))]
    extra = frame.loc[frame["session"] == day]
    keys = frozenset(zip(extra["symbol"], extra["session"], strict=True))
    return Planted(pd.concat([frame, extra], ignore_index=True), [Fault(keys, keys)])


def missing_day(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Leave one session out for all symbols."""
    days = np.sort(frame["session"].unique())
    day = pd.Timestamp(days[int(rng.integers(1, len(days) - 1))])
    kept = frame.loc[frame["session"] != day].reset_index(drop=True)
    return Planted(kept, [Fault(frozenset({("", day)}))])


def missing_row(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Leave out one session of a symbol: the row after it is the one that tells."""
    rows = _runs(frame, rng, count, 2)
    faults = [Fault(_keys(frame, run[1:])) for run in rows]
    return Planted(frame.drop(index=[run[0] for run in rows]).reset_index(drop=True), faults)


def future_rows(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Add rows dated after the last session."""
    last = frame["session"].max()
    extra = frame.loc[[run[0] for run in _runs(frame, rng, count, 1)]].copy()
    extra["session"] = last + pd.Timedelta(days=int(rng.integers(1, 40)))
    keys = list(zip(extra["symbol"], extra["session"], strict=True))
    faults = [Fault(frozenset({key}), frozenset({key})) for key in keys]
    return Planted(pd.concat([frame, extra], ignore_index=True), faults)


def exchanged_symbols(length: int) -> Plant:
    """Return a plant that writes the rows of two symbols into each other."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        names = liquid(frame)
        chosen = rng.permutation(names)[: 2 * (min(2 * count, len(names)) // 2)]
        for a, b in chosen.reshape(-1, 2):
            rows = [frame.index[frame["symbol"] == name] for name in (a, b)]
            days = np.intersect1d(frame.loc[rows[0], "session"], frame.loc[rows[1], "session"])
            start = int(rng.integers(3, len(days) - length - 3))
            inside = [
                frame.loc[r].loc[frame.loc[r, "session"].isin(days[start : start + length])]
                .sort_values("session").index
                for r in rows
            ]  # fmt: skip
            for into, source in (inside, inside[::-1]):
                planted.frame.loc[into, BAR] = frame.loc[source, BAR].to_numpy()
                keys = _keys(frame, into)
                planted.faults.append(Fault(keys, keys))
        return planted

    return plant


def written_over(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """Write five rows of one symbol over those of another."""
    planted = exchanged_symbols(5)(frame, rng, count)
    for fault in planted.faults[1::2]:
        mask = pd.MultiIndex.from_frame(frame[["symbol", "session"]]).isin(list(fault.keys))
        planted.frame.loc[mask, BAR] = frame.loc[mask, BAR]
    planted.faults = planted.faults[::2]
    return planted


def one_position_off(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
    """On one session, give every symbol the bar of the next one in the list."""
    planted = Planted(frame.copy())
    days = np.sort(frame["session"].unique())
    day = days[int(rng.integers(3, len(days) - 3))]
    rows = frame.index[frame["session"] == day]
    planted.frame.loc[rows, BAR] = np.roll(frame.loc[rows, BAR].to_numpy(), -1, axis=0)
    keys = _keys(frame, rows)
    planted.faults.append(Fault(keys, keys))
    return planted


DAILY: dict[str, Plant] = {
    "날짜가 밀림": moved_dates,
    "값만 밀림 (120일)": moved_values(120),
    "고가↔저가": swapped("high", "low"),
    "시가↔고가": swapped("open", "high"),
    "종가↔거래량": swapped("close", "volume"),
    "시가↔종가 (60일)": swapped("open", "close", 60),
    "시가↔종가 (20일)": swapped("open", "close", 20),
    "시가↔종가 (1일)": swapped("open", "close"),
    "분할 미조정 2:1": split_left_out(2),
    "분할 미조정 5:1": split_left_out(5),
    "분할 미조정 10:1": split_left_out(10),
    "소수점 ×10": scaled(10, PRICES),
    "소수점 ×0.1": scaled(0.1, PRICES),
    "소수점 ×100": scaled(100, PRICES),
    "소수점 ×10 (10일)": scaled(10, PRICES, 10),
    "종가만 ×10": scaled(10, ["close"]),
    "다른 날을 베낌": copied_day,
    "토요일에 베낌": weekend_copy,
    "같은 날 두 번": batch_twice,
    "거래일 통째로 빠짐": missing_day,
    "한 종목의 하루 빠짐": missing_row,
    "미래의 행": future_rows,
    "두 종목이 바뀜 (5일)": exchanged_symbols(5),
    "다른 종목의 행": written_over,
    "종목이 한 칸씩 밀림": one_position_off,
}


@dataclass(frozen=True, slots=True)
class Score:
    """What a gate made of the faults of one kind.

    ``found`` is the share of faults that any finding tells of, ``set_aside`` of those with a row
    in quarantine, ``rows`` the share of wrong rows in quarantine (``None`` where the fault has
    none of its own), ``false`` the rows set aside that no fault touched, ``judged`` all rows.
    """

    kind: str
    faults: int
    found: float
    set_aside: float
    rows: float | None
    false: int
    judged: int

    @property
    def line(self) -> str:
        """The score as a row of a table."""
        rows = "—" if self.rows is None else f"{self.rows:.3f}"
        return (
            f"{self.kind:<18} 심음 {self.faults:>5}  찾음 {self.found:.3f}  "
            f"격리 {self.set_aside:.3f}  행 {rows}  오경보 {self.false / self.judged:.1e}"
        )


Keys = set[tuple[str, pd.Timestamp]]
Judge = Callable[[pd.DataFrame], tuple[Keys, Keys]]


def score(
    kind: str,
    plant: Plant,
    frame: pd.DataFrame,
    judge: Judge,
    *,
    seeds: int,
    count: int,
) -> Score:
    """Plant a kind of fault by many seeds and count what ``judge`` sets aside and notes."""
    before, noted_before = judge(frame)
    faults = found = aside = wrong = caught = false = judged = 0
    for seed in range(seeds):
        planted = plant(frame, np.random.default_rng(seed), count)
        quarantined, noted = judge(planted.frame)
        told = quarantined | (noted - noted_before)
        touched: Keys = set()
        for fault in planted.faults:
            faults += 1
            found += bool(fault.keys & told)
            aside += bool(fault.keys & quarantined)
            wrong += len(fault.wrong)
            caught += len(fault.wrong & quarantined)
            touched |= fault.keys | fault.wrong | fault.touched
        false += len(quarantined - before - touched)
        judged += len(planted.frame)
    return Score(
        kind,
        faults,
        found / faults,
        aside / faults,
        caught / wrong if wrong else None,
        false,
        judged,
    )


def gate(kind: str, context: quality.Context, name: str = "symbol") -> Judge:
    """Return the gate as a function from a frame to the keys it sets aside and those it notes."""
    used = quality.shipped_settings()
    settings = used.of(kind)
    # Notes are known by their examples, so all of them must be kept.
    report = settings.report.model_copy(update={"examples": 1_000_000})
    used = used.model_copy(update={kind: settings.model_copy(update={"report": report})})

    def judge(frame: pd.DataFrame) -> tuple[Keys, Keys]:
        result = quality.check(kind, frame, context, used)
        names = result.quarantined[name].to_pylist()
        days = map(pd.Timestamp, result.quarantined["session"].to_pylist())
        noted = {
            (str(example.get(name, "")), pd.Timestamp(example["session"]))
            for finding in result.findings
            for example in finding.examples
            if "session" in example
        }
        return set(zip(names, days, strict=True)), noted

    return judge


def levels_mixed(length: int) -> Plant:
    """Return a plant that writes a run of one series' levels over another's."""

    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        into, source = rng.choice(sorted(frame["name"].unique()), 2, replace=False)
        rows = {
            name: frame.loc[frame["name"] == name].set_index("session") for name in (into, source)
        }
        days = np.intersect1d(rows[into].index, rows[source].index)
        start = int(rng.integers(60, len(days) - length))
        chosen = days[start : start + length]
        at = frame.index[(frame["name"] == into) & frame["session"].isin(chosen)]
        order = frame.loc[at, "session"]
        planted.frame.loc[at, PRICES] = rows[source].loc[order, PRICES].to_numpy()
        keys = frozenset((into, pd.Timestamp(day)) for day in chosen)
        planted.faults.append(Fault(keys, keys))
        return planted

    return plant


def _levels(change: Callable[[pd.DataFrame, pd.Index], None], length: int) -> Plant:
    def plant(frame: pd.DataFrame, rng: np.random.Generator, count: int) -> Planted:
        planted = Planted(frame.copy())
        name = str(rng.choice(sorted(frame["name"].unique())))
        rows = frame.index[frame["name"] == name]
        start = int(rng.integers(60, len(rows) - length))
        chosen = rows[start : start + length]
        change(planted.frame, chosen)
        keys = frozenset((name, day) for day in frame.loc[chosen, "session"])
        planted.faults.append(Fault(keys, keys))
        return planted

    return plant


def _times(factor: float) -> Callable[[pd.DataFrame, pd.Index], None]:
    def change(frame: pd.DataFrame, rows: pd.Index) -> None:
        frame.loc[rows, PRICES] *= factor

    return change


def _stand_still(frame: pd.DataFrame, rows: pd.Index) -> None:
    frame.loc[rows, PRICES] = frame.loc[rows[0], PRICES].to_numpy(dtype=np.float64)


INDEX: dict[str, Plant] = {
    "지수: 다른 계열 (1일)": levels_mixed(1),
    "지수: 다른 계열 (20일)": levels_mixed(20),
    "지수: 소수점 ×10": _levels(_times(10), 1),
    "지수: 소수점 ×0.1": _levels(_times(0.1), 1),
    "지수: 같은 값 (5일)": _levels(_stand_still, 5),
}
