"""Recorded market data behind one port; nothing here fills, smooths or invents a row.

Bars that KIS serves come through ``broker``.
"""

from pathlib import Path

from trading.errors import UsageError
from trading.ports import DatasetSource
from trading.store.datasets.embedded import EmbeddedSource
from trading.store.datasets.marcap import MarcapSource, archive_files
from trading.store.datasets.ohlcv import OhlcvSource, ohlcv_files
from trading.store.datasets.recorded import RecordedSource, recorded_files
from trading.store.universe import UniverseSettings

__all__ = [
    "EmbeddedSource",
    "MarcapSource",
    "OhlcvSource",
    "RecordedSource",
    "forget_tables",
    "open_dataset",
]


def forget_tables() -> None:
    """Give back the room that Arrow keeps for more tables once those it read are gone."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def open_dataset(path: Path, universe: UniverseSettings | None = None) -> DatasetSource:
    """Return the source that can read the folder or file, told by the names of its files."""
    if not path.exists():
        raise UsageError(f"자료 폴더가 없음: {path} (경로를 확인해 주세요)")
    if recorded_files(path):
        return RecordedSource(path, universe)
    if archive_files(path):
        return MarcapSource(path, universe)
    if ohlcv_files(path):
        return OhlcvSource(path, universe)
    raise UsageError(
        f"{path}에 아는 자료가 없음. 읽을 수 있는 것: 기록 자료(krx_daily.parquet, us_daily.parquet 등), "
        "marcap 자료(marcap-2024.parquet, marcap-2024.csv.gz), 일봉·분봉 CSV나 Parquet"
    )
