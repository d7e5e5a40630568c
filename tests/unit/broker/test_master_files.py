"""Symbol files are asked for once a day, kept only whole, and never trusted when damaged."""

import io
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from raw_server import RawServer, http

from trading.broker.masters import MasterFiles
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Market
from trading.errors import SchemaError, TransientBrokerError
from trading.wire.masters import Board

# 08:00 on 2024-01-05 in Seoul.
NOW = datetime(2024, 1, 4, 23, 0, tzinfo=UTC)
# A US file of two lines: published names, no price.
NASDAQ = "\n".join(
    "\t".join(["US", "NAS", "NAS", "나스닥", symbol, f"DNAS{symbol}", name, english, kind,
               "USD", "4", "1", "", "1", "1", "0930", "1600", "N", "", "", "0", "1", etp, "1"])
    for symbol, name, english, kind, etp in (
        ("AAPL", "애플", "APPLE INC", "2", ""),
        ("QQQ", "인베스코 QQQ", "INVESCO QQQ TRUST", "3", "001"),
    )
).encode("cp949")  # fmt: skip


def packed(name, content):
    """Return a zip archive with one file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return archive.getvalue()


WHOLE = packed("nasmst.cod", NASDAQ)


@pytest.fixture
def serve(tmp_path):
    """Return a function that serves one answer and gives the files of that server."""
    servers = []

    def make(answer):
        server = RawServer(lambda _: answer() if callable(answer) else answer, close_after=True)
        servers.append(server)
        clock = ManualClock(NOW)
        files = MasterFiles(
            server.base, directory=tmp_path / "masters", clock=clock, timeout_seconds=5
        )
        return files, server, clock

    yield make
    for server in servers:
        server.close()


def test_a_file_is_asked_for_once_a_day(serve, tmp_path):
    """The kept file serves the day, in any process; the next day in Korea asks again."""
    files, server, clock = serve(http(200, WHOLE))

    first = files.foreign("NASD")
    again = files.foreign("NASD")
    clock.set(NOW + timedelta(hours=15, minutes=59))
    same_day = files.foreign("NASD")
    clock.set(NOW + timedelta(hours=16))
    next_day = files.foreign("NASD")

    assert [row.symbol for row in first] == ["AAPL", "QQQ"]
    assert first == again == same_day == next_day
    assert server.paths == ["/nasmst.cod.zip"] * 2
    kept = list((tmp_path / "masters").iterdir())
    assert len(kept) == 1 and kept[0].name.startswith("nasmst.cod-20240106-")


def test_two_that_fetch_at_once(serve, tmp_path, monkeypatch):
    """Whoever puts the file in place first takes nothing from under the other."""
    files, server, clock = serve(http(200, WHOLE))
    other = MasterFiles(server.base, directory=tmp_path / "masters", clock=clock, timeout_seconds=5)
    write = Path.write_bytes

    def written_while_another_fetches(path, content):
        monkeypatch.undo()
        size = write(path, content)
        thread = threading.Thread(target=other.foreign, args=("NASD",))
        thread.start()
        thread.join()
        return size

    monkeypatch.setattr(Path, "write_bytes", written_while_another_fetches)
    rows = files.foreign("NASD")

    assert [row.symbol for row in rows] == ["AAPL", "QQQ"]
    assert len(list((tmp_path / "masters").iterdir())) == 1


def test_a_damaged_kept_file_is_replaced(serve, tmp_path):
    """What was altered on the disk does not match its checksum and is asked for anew."""
    files, server, _ = serve(http(200, WHOLE))
    files.foreign("NASD")
    (kept,) = (tmp_path / "masters").iterdir()
    kept.write_bytes(WHOLE[:-30])

    rows = files.foreign("NASD")

    assert [row.symbol for row in rows] == ["AAPL", "QQQ"]
    assert server.count("nasmst.cod.zip") == 2


@pytest.mark.parametrize("cut", [1, 20, len(WHOLE) // 2, len(WHOLE) - 1])
def test_a_truncated_download_is_refused(serve, tmp_path, cut):
    """Neither a broken promise of length nor a short archive is read or kept."""
    promised, _, _ = serve(http(200, WHOLE[:-cut], length=len(WHOLE)))
    with pytest.raises(TransientBrokerError):
        promised.foreign("NASD")
    honest, _, _ = serve(http(200, WHOLE[:-cut]))
    with pytest.raises(SchemaError):
        honest.foreign("NASD")

    assert not list(tmp_path.glob("masters/*.zip"))


@pytest.mark.parametrize("at", range(0, len(WHOLE), 7))
def test_an_altered_archive_is_refused_or_the_same(serve, at):
    """A flipped byte either does not touch the file inside or is found by its checksum."""
    altered = WHOLE[:at] + bytes([WHOLE[at] ^ 0xFF]) + WHOLE[at + 1 :]
    files, _, _ = serve(http(200, altered))

    try:
        rows = files.foreign("NASD")
    except SchemaError:
        return
    assert [row.symbol for row in rows] == ["AAPL", "QQQ"]


@pytest.mark.parametrize(
    "answer", [http(404, b"not found"), http(503, b""), http(200, b"<html></html>"), None]
)
def test_other_answers_are_errors(serve, answer):
    """An error page is not a symbol file."""
    files, _, _ = serve(answer)

    with pytest.raises((TransientBrokerError, SchemaError)):
        files.foreign("NASD")


def test_instruments_of_a_market(serve):
    """Shares and funds become instruments of their exchange."""
    names = iter(("nasmst.cod", "nysmst.cod", "amsmst.cod", "kospi_code.mst"))
    files, server, _ = serve(lambda: http(200, packed(next(names), NASDAQ)))

    instruments = files.instruments(Market.US)

    assert [(one.symbol, one.exchange) for one in instruments[:2]] == [
        ("AAPL", Exchange.NASDAQ), ("QQQ", Exchange.NASDAQ),
    ]  # fmt: skip
    assert server.paths == ["/nasmst.cod.zip", "/nysmst.cod.zip", "/amsmst.cod.zip"]
    with pytest.raises(SchemaError):
        files.foreign("NAS")
    with pytest.raises(SchemaError):  # a US file under a Korean name
        files.korean(Board.KOSPI)
