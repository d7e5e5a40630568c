"""Symbol master files over https: downloaded once a day without a key, checked, and kept.

Their layout is in ``trading.wire.masters``.
"""

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from trading.domain.instrument import Instrument, Market
from trading.errors import SchemaError, TransientBrokerError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import masters as wire
from trading.wire import values
from trading.wire.masters import Board, ForeignCode, ForeignShare, ListedShare, Master, Sector
from trading.wire.overseas_codes import EXCHANGES, US_EXCHANGES

T = TypeVar("T")
log = get_logger(__name__)

_BOARDS = {board: f"{board}_code.mst" for board in Board}
_FOREIGN = {row.trade: f"{row.master}mst.cod" for row in EXCHANGES}
_TRADE_CODES = {row.exchange: row.trade for row in EXCHANGES if row.exchange is not None}
_TRADED_KINDS = {wire.ForeignKind.STOCK, wire.ForeignKind.ETP}
_SECTORS, _FOREIGN_CODES = "idxcode.mst", "frgn_code.mst"
# Several times the largest file of today; more than that is not a symbol file.
_MOST_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_DIGEST_LETTERS = 16
# What zipfile raises for archives that are cut, altered or locked.
_BROKEN = (zipfile.BadZipFile, KeyError, EOFError, ValueError, RuntimeError, zlib.error, OSError)


class MasterFiles:
    """The symbol files of one server; every call blocks.

    Parameters
    ----------
    base : str
        Address of the folder that holds them (``kis.yaml``).
    directory : Path
        Where they are kept; a file is asked for once a day in Korea.
    """

    def __init__(
        self, base: str, *, directory: Path, clock: Clock, timeout_seconds: float = 30.0
    ) -> None:
        self._base = base.rstrip("/")
        self._directory = directory
        self._clock = clock
        self._timeout = timeout_seconds

    def korean(self, board: Board) -> tuple[ListedShare, ...]:
        """Return every security of a Korean board with its state of the day."""
        return self._rows(_BOARDS[board], lambda content: wire.read_board(content, board))

    def foreign(self, trade_code: str) -> tuple[ForeignShare, ...]:
        """Return every security of a foreign exchange, named by its four letters (``NASD``)."""
        if trade_code not in _FOREIGN:
            raise SchemaError(f"알 수 없는 거래소 코드: {trade_code!r}")
        return self._rows(_FOREIGN[trade_code], wire.read_foreign)

    def sectors(self) -> tuple[Sector, ...]:
        """Return the codes of Korean indices and sectors."""
        return self._rows(_SECTORS, wire.read_sectors)

    def foreign_codes(self) -> tuple[ForeignCode, ...]:
        """Return the codes of foreign indices and rates."""
        return self._rows(_FOREIGN_CODES, wire.read_foreign_codes)

    def instruments(self, market: Market, *, only_shares: bool = False) -> list[Instrument]:
        """Return the shares and funds of a market, by symbol within each exchange."""
        if market is Market.KRX:
            listed = [*self.korean(Board.KOSPI), *self.korean(Board.KOSDAQ)]
            return [
                one
                for row in listed
                if (one := row.instrument) is not None and (row.is_share or not only_shares)
            ]
        kinds = {wire.ForeignKind.STOCK} if only_shares else _TRADED_KINDS
        return [
            Instrument(symbol=row.symbol, exchange=exchange, name=row.english_name or row.name)
            for exchange in US_EXCHANGES
            for row in self.foreign(_TRADE_CODES[exchange])
            if row.kind in kinds
        ]

    def _rows(self, name: str, read: Callable[[bytes], Master[T]]) -> tuple[T, ...]:
        master = read(_unpacked(self._packed(name), name))
        for line in master.bad:
            log.warning(
                "종목 마스터의 줄을 건너뜀", file=name, line=line.number, reason=line.reason
            )
        return master.rows

    def _packed(self, name: str) -> bytes:
        today = values.day_text(values.local_date(self._clock.now(), Market.KRX))
        for path in self._directory.glob(f"{name}-{today}-*.zip"):
            content = path.read_bytes()
            if path.name == _kept_name(name, today, content):
                return content
            log.warning("보관한 종목 마스터가 손상되어 다시 받음", file=path.name)
            path.unlink(missing_ok=True)
        content = self._download(name)
        # Read before it is kept: what cannot be unpacked must not stay for the day.
        _unpacked(content, name)
        self._keep(name, today, content)
        return content

    def _download(self, name: str) -> bytes:
        import requests

        url = f"{self._base}/{name}.zip"
        try:
            with requests.get(url, timeout=self._timeout, stream=True) as answer:
                if answer.status_code != 200:
                    raise TransientBrokerError(
                        f"종목 마스터를 받지 못함: HTTP {answer.status_code}"
                    )
                content = bytearray()
                for chunk in answer.iter_content(_CHUNK):
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise SchemaError(f"종목 마스터가 너무 큼: {name}")
                promised = answer.headers.get("content-length", "")
        except requests.RequestException as error:
            raise TransientBrokerError(
                f"종목 마스터를 받지 못함: {name} ({type(error).__name__})"
            ) from error
        if promised.isdigit() and int(promised) != len(content):
            raise TransientBrokerError(
                f"종목 마스터가 중간에 끊김: {name} ({promised}바이트 중 {len(content)})"
            )
        return bytes(content)

    def _keep(self, name: str, today: str, content: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / _kept_name(name, today, content)
        # Two that fetch at once write a file each; the same content is put in place twice.
        fresh = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        fresh.write_bytes(content)
        fresh.replace(path)
        for old in self._directory.glob(f"{name}-*.zip"):
            if old != path:
                old.unlink(missing_ok=True)
        log.info("종목 마스터 받음", file=path.name, bytes=len(content))


def _kept_name(name: str, day: str, content: bytes) -> str:
    return f"{name}-{day}-{sha256(content).hexdigest()[:_DIGEST_LETTERS]}.zip"


def _unpacked(content: bytes, name: str) -> bytes:
    """Return the one file of an archive; ``SchemaError`` for anything but a whole one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = archive.getinfo(name)
            if member.file_size > _MOST_BYTES:
                raise SchemaError(f"종목 마스터가 너무 큼: {name}")
            return archive.read(member)
    except _BROKEN as error:
        raise SchemaError(f"종목 마스터 압축이 손상됨: {name}") from error
