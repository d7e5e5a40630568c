"""Recorded KRX fundamentals, annual statements and sectors in long form."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.instrument import Market
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.datasets.base import same_word
from trading.store.datasets.files import read

if TYPE_CHECKING:
    import pyarrow as pa

# Figures that KRX publishes each session; a 0 among the first stands for "none or negative".
_RATIOS = ("bps", "per", "pbr", "eps")
_PAYOUTS = ("div_yield", "dps")
_INDEX_FIGURES = ("per", "forward_per", "pbr", "div_yield")
_STATEMENT_FIGURES = (
    "total_assets", "total_liabilities", "intangibles", "operating_cash_flow", "sales_growth",
    "ebitda_growth", "foreign_ownership_pct", "debt_to_equity",
)  # fmt: skip
# A statement whose filing day is not recorded counts as public this many sessions after 1 April
# (DESIGN, "Features"): annual reports are due at the end of March.
_FILING_SESSIONS = 15
# The snapshot behind industry and products was committed on this day (MANIFEST, "Sources").
_SECTORS_AS_OF = date(2025, 12, 27)
_SCHEMES = ("krx_kind_industry", "krx_industry_finda")


def fundamentals(directory: Path) -> "pa.Table":
    """Return what was published of each name, and of the index KOSPI200, by name and metric."""
    import pyarrow as pa

    parts = list(_published(directory / "krx_fundamentals.parquet"))
    for file, part in (
        ("krx_statements_annual.parquet", _statements),
        ("krx_dart_annual_kosdaq.parquet", _dart),
        ("index_valuation.parquet", _index_valuation),
    ):
        if (directory / file).is_file():
            parts += part(directory / file)
    whole = schema.by_key(pa.concat_tables(parts).unify_dictionaries(), schema.FUNDAMENTALS)
    return schema.conform(whole, schema.FUNDAMENTALS)


def sectors(directory: Path) -> "pa.Table":
    """Return the industry of each name, as one snapshot of 2025-12, and its KOSDAQ segment.

    The segment has its own day for each name: the last one on which it was recorded.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read(
        directory / "krx_sectors.parquet",
        ["symbol", *_SCHEMES, "krx_dept", "dept_asof", "source"],
    )
    as_of = pa.array([_SECTORS_AS_OF] * len(table), pa.date32())
    parts = []
    for scheme in (*_SCHEMES, "krx_dept"):
        seen = table["dept_asof"].cast(pa.date32()) if scheme == "krx_dept" else as_of
        rows = pa.table(
            {
                "symbol": table["symbol"],
                "scheme": same_word(scheme, len(table)),
                "as_of": seen,
                "sector": table[scheme],
                "source": table["source"],
            }
        )
        known = pc.and_(pc.is_valid(rows["sector"]), pc.is_valid(rows["as_of"]))
        parts.append(schema.cast(rows.filter(known), schema.SECTORS))
    return schema.conform(pa.concat_tables(parts), schema.SECTORS)


def published_by_rule(period: date, calendar: SessionCalendar) -> date:
    """Return from when a fiscal year's statement counts as public: 15 sessions after 1 April."""
    year = period.year + 1
    return calendar.sessions(date(year, 4, 2), date(year, 6, 30))[_FILING_SESSIONS - 1]


def _published(path: Path) -> list["pa.Table"]:
    table = read(path, ["date", "symbol", *_RATIOS, *_PAYOUTS, "source"])
    return [
        _long(table, name, name, days=table["date"], zero_is_none=name in _RATIOS)
        for name in (*_RATIOS, *_PAYOUTS)
    ]


def _index_valuation(path: Path) -> list["pa.Table"]:
    table = read(path, ["date", "index", *_INDEX_FIGURES, "source"])
    table = table.rename_columns(["date", "symbol", *_INDEX_FIGURES, "source"])
    return [_long(table, name, name, days=table["date"]) for name in _INDEX_FIGURES]


def _statements(path: Path) -> list["pa.Table"]:
    table = read(path, ["symbol", "fiscal_year", *_STATEMENT_FIGURES, "source"])
    return [_annual(table, name, name, "fiscal_year") for name in _STATEMENT_FIGURES]


def _dart(path: Path) -> list["pa.Table"]:
    """Return the statement items; the source says whether they are consolidated (CFS)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read(path, ["symbol", "year", "fs_div", "metric", "amount", "source"])
    source = pc.binary_join_element_wise(
        table["source"].cast(pa.string()), table["fs_div"].cast(pa.string()), ", "
    )
    table = table.set_column(table.column_names.index("source"), "source", source)
    return [_annual(table, None, "amount", "year")]


def _long(
    table: "pa.Table",
    metric: str,
    column: str,
    *,
    days: "pa.ChunkedArray",
    zero_is_none: bool = False,
) -> "pa.Table":
    """Return one figure that was public on the session it is about."""
    import pyarrow as pa
    import pyarrow.compute as pc

    value = table[column].cast(pa.float64())
    if zero_is_none:
        value = pc.if_else(pc.equal(value, 0), pa.scalar(None, pa.float64()), value)
    return _rows(table, same_word(metric, len(table)), value, days, days, rule=False)


def _annual(table: "pa.Table", metric: str | None, column: str, year_column: str) -> "pa.Table":
    """Return figures of fiscal years; ``metric`` is the table's own column when not named."""
    import pyarrow as pa
    import pyarrow.compute as pc

    calendar = SessionCalendar(Market.KRX)
    years = pc.unique(table[year_column]).to_pylist()
    place = pc.index_in(table[year_column], value_set=pa.array(years, table[year_column].type))
    ends = [date(year, 12, 31) for year in years]
    public = [published_by_rule(end, calendar) for end in ends]
    names = table["metric"] if metric is None else same_word(metric, len(table))
    value = table[column].cast(pa.float64())
    period, published = (pa.array(days, pa.date32()).take(place) for days in (ends, public))
    return _rows(table, names, value, period, published, rule=True)


def _rows(
    table: "pa.Table",
    metric: "pa.Array",
    value: "pa.ChunkedArray",
    period: "pa.ChunkedArray",
    published: "pa.ChunkedArray",
    *,
    rule: bool,
) -> "pa.Table":
    """Return the figures that are there."""
    import pyarrow as pa

    known = pa.array(np.flatnonzero(value.is_valid().to_numpy()))
    return schema.cast(
        pa.table(
            {
                "symbol": table["symbol"],
                "metric": metric,
                "period": period,
                "published": published,
                "value": value,
                "rule": np.full(len(table), rule),
                "source": table["source"],
            }
        ).take(known),
        schema.FUNDAMENTALS,
    )
