"""The recorded rows are cut at drawn mornings, everything is computed again and compared.

A second time the rows after the cut are there, but are others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from trading import bootstrap
from trading.allocation.sizing import SizingMethod
from trading.bootstrap import Installation
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import ModelError, UsageError
from trading.lookahead import restatement
from trading.lookahead.compare import (
    Kind,
    Subject,
    Violation,
    bits,
    first_difference,
    plain,
)
from trading.lookahead.plants import Plant, planted
from trading.lookahead.record import Record, Terms, recorded, terms_of
from trading.lookahead.world import UNIVERSE, World
from trading.mlops.train import train
from trading.models.base import Model

CUTS = 12
NAMES = 60
# A view is made of one row and a short past: all mornings of a quarter before a cut, and one a
# quarter before that. Everything else is compared on all rows.
_QUARTER = 63
# A decision is made of its view alone: ways of sizing that are not in use are tried on the last
# mornings only.
_DAYS = 3
# Two fifths of the record teach the model: it is silent over what it has seen.
_TAUGHT = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was compared. ``silent`` subjects said one and the same all the time: nothing proven."""

    subjects: tuple[Subject, ...]
    cuts: tuple[date, ...]
    checked: Mapping[Subject, int]
    violations: tuple[Violation, ...]
    silent: tuple[Subject, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only; ``checked`` is ``registered`` times the number of cuts."""
        kinds = {
            kind: [subject for subject in self.subjects if subject.kind is kind] for kind in Kind
        }
        return {
            "registered": len(self.subjects),
            "checked": sum(self.checked.values()),
            "cuts": [str(day) for day in self.cuts],
            "violations": [violation.to_json() for violation in self.violations],
            "kinds": {
                str(kind): {
                    "registered": len(mine),
                    "checked": sum(self.checked[subject] for subject in mine),
                    "violations": sum(v.kind is kind for v in self.violations),
                }
                for kind, mine in kinds.items()
                if mine
            },
            "silent": [f"{subject.kind}:{subject.name}" for subject in self.silent],
        }


def run(
    installation: Installation,
    *,
    cuts: int = CUTS,
    seed: int = 0,
    names: int = NAMES,
    dataset: Path | None = None,
    market: Market | None = None,
    plant: Plant | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Cut the recorded history and return what was compared and what differed.

    Parameters
    ----------
    cuts, seed
        How many mornings are drawn, one from each of as many equal parts of the history.
    names : int
        Of a wider record only so many names are looked at, drawn by the seed; 0 for all.
    plant : Plant, optional
        The leak that is put in.

    Raises
    ------
    MissingDataError
        If nothing was recorded of the market.
    UsageError
        If there are more cuts than sessions to cut at.
    """
    chosen_market = market or installation.settings.app.market
    source = bootstrap.open_source(installation, dataset)
    rng = np.random.default_rng(seed)
    record = recorded(installation, source, chosen_market, names, rng)
    terms = terms_of(installation, record)
    with planted(plant):
        found = check(record, terms, drawn(record.known, cuts, rng), rng, progress)
    return {
        "market": str(chosen_market),
        "source": source.name,
        "seed": seed,
        "names": len(record.symbols),
        "plant": str(plant) if plant is not None else None,
        **found.to_json(),
    }


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return kinds with what was registered, checked and found, as a table shows them."""
    kinds = [
        (
            Kind(kind).text,
            *(f"{counts[name]:,}" for name in ("registered", "checked", "violations")),
        )
        for kind, counts in result["kinds"].items()
    ]
    total = (len(result["violations"]), result["registered"], result["checked"])
    return [*kinds, ("모두", f"{total[1]:,}", f"{total[2]:,}", f"{total[0]:,}")]


def text(result: Mapping[str, Any]) -> str:
    """Return what the table does not say: where it was cut, what differed, what stayed silent."""
    cuts = result["cuts"]
    lines = [
        f"{MARKET_TEXT[Market(result['market'])]} {result['names']:,}종목의 기록을 "
        f"{cuts[0]} ~ {cuts[-1]} 사이 {len(cuts):,}일에서 잘랐습니다 (시드 {result['seed']})."
    ]
    if result["plant"] is not None:
        lines.append(f"일부러 심은 결함: {result['plant']}")
    for found in result["violations"]:
        symbol = f" {found['symbol']}" if found["symbol"] is not None else ""
        future = "없을 때" if found["future"] == "absent" else "다를 때"
        lines.append(
            f"  [{Kind(found['kind']).text}] {found['name']}: {found['session']}{symbol}의 값이 "
            f"{_number_text(found['whole'])}인데, {found['cut_at']}부터의 기록이 {future}는 "
            f"{_number_text(found['cut'])}입니다."
        )
    if result["silent"]:
        lines.append("이 기록에서 한 가지 값만 내어 증명된 것이 없는 항목:")
        for kind in Kind:
            found_silent = [
                s.partition(":")[2] for s in result["silent"] if s.startswith(f"{kind}:")
            ]
            if found_silent:
                lines.append(f"  [{kind.text}] {', '.join(found_silent)}")
    lines.append(
        "앞일을 아는 값이 있습니다." if result["violations"] else "앞일을 아는 값이 없습니다."
    )
    return "\n".join(lines)


def _number_text(value: float | int | str | None) -> str:
    return "없음" if value is None else str(value)


def drawn(n_sessions: int, cuts: int, rng: np.random.Generator) -> list[int]:
    """Return the rows of the mornings at which the record is cut, one from each equal part."""
    edges = np.linspace(2, n_sessions, cuts + 1).astype(np.int64)
    if (np.diff(edges) < 1).any():
        raise UsageError(f"자를 날이 모자랍니다: {cuts:,}번, 기록은 {n_sessions:,}거래일입니다.")
    return [int(rng.integers(low, high)) for low, high in pairwise(edges.tolist())]


def check(
    record: Record,
    terms: Terms,
    mornings: Sequence[int],
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare everything registered at each of the ``mornings``, without and with another future."""
    models = _taught(record, terms)
    whole = World(record, terms, models)
    decisions = whole.morning(mornings[0], tuple(SizingMethod))
    subjects = (*whole.grids, *decisions, UNIVERSE, restatement.SUBJECT)
    checked = dict.fromkeys(subjects, 0)
    violations: list[Violation] = []
    days, low, high = restatement.mornings()
    for done, row in enumerate(mornings, 1):
        found: dict[Subject, Violation] = {}
        compared: set[Subject] = set()
        its_row = int(rng.integers(low, high))
        for future in ("absent", "other"):
            cut = record.before(row) if future == "absent" else record.otherwise(row)
            world = World(cut, terms, models)
            differences = (
                *_differences(whole, world, row),
                (restatement.SUBJECT, restatement.difference(days, its_row, future)),
            )
            for subject, violation in differences:
                compared.add(subject)
                if violation is not None:
                    found.setdefault(subject, replace(violation, future=future))
        for subject in compared:
            checked[subject] += 1
        violations += found.values()
        if progress is not None:
            progress(done, len(mornings))
    return Report(
        subjects=subjects,
        cuts=tuple(record.sessions[row] for row in mornings),
        checked=checked,
        violations=tuple(violations),
        silent=tuple(_silent(whole)),
    )


def _differences(
    whole: World, world: World, row: int
) -> Iterator[tuple[Subject, Violation | None]]:
    """Yield every subject with its first difference before the morning in ``row``, or none."""
    record = whole.record
    sessions = record.sessions

    def violation(subject: Subject, at: int, a: Any, b: Any) -> Violation | None:
        cell = first_difference(a, b)
        if cell is None:
            return None
        return Violation(
            name=subject.name,
            kind=subject.kind,
            session=sessions[at if at >= 0 else cell[0]],
            symbol=record.symbols[cell[-1]] if subject.by_symbol else None,
            whole=plain(a[cell]),
            cut=plain(b[cell]),
            cut_at=sessions[row],
            future="",
        )

    for subject, grid in whole.grids.items():
        # What nobody had published yet has no grid in the cut record.
        other = world.grids.get(subject, np.full(grid.shape, np.nan))
        yield subject, violation(subject, -1, grid[:row], other[:row])
    found: dict[Subject, Violation | None] = {}
    in_use = (whole.method,)
    for at in _looked_at(row):
        methods = tuple(SizingMethod) if at > row - _DAYS else in_use
        theirs = world.morning(at, methods)
        for subject, numbers in whole.morning(at, methods).items():
            if found.get(subject) is None:
                found[subject] = violation(subject, at, numbers, theirs[subject])
    yield from found.items()
    months = np.array(sessions[:row], dtype="datetime64[M]")
    begun = np.flatnonzero(np.diff(months, prepend=months[0] - 1) != np.timedelta64(0, "M"))
    listed: Violation | None = None
    for at in sorted({*begun.tolist(), row - 1}):
        listed = listed or violation(UNIVERSE, at, whole.members(at), world.members(at))
    yield UNIVERSE, listed


def _looked_at(row: int) -> list[int]:
    """Return the mornings that are compared when the record is cut on the morning of ``row``."""
    near = max(1, row - _QUARTER)
    # From fixed rows on, so that the whole record's are computed once for all cuts.
    return [*range(_QUARTER, near, _QUARTER), *range(near, row + 1)]


def _taught(record: Record, terms: Terms) -> dict[str, Model]:
    """Return small models taught on the first years; none of a family for which they are too short."""
    _, adjusted = record.panels(terms)
    past = adjusted.until(int(record.known * _TAUGHT))
    found: dict[str, Model] = {}
    for family in terms.taught:
        with suppress(ModelError):
            found[family] = train(past, terms.features, terms.models, family=family).model
    return found


def _silent(whole: World) -> Iterator[Subject]:
    seen: dict[Subject, list[Any]] = {subject: [grid] for subject, grid in whole.grids.items()}
    for morning in whole.mornings():
        for subject, numbers in morning.items():
            seen.setdefault(subject, []).append(numbers)
    for subject, parts in seen.items():
        cells = np.concatenate([bits(part) for part in parts])
        if not (cells != cells[:1]).any():
            yield subject
