"""Forty symbols, two thousand frames a second, for as long as asked: nothing lost, nothing grown.

``make feed SECONDS=600``. A process of its own plays the venue: it registers like KIS and sends
recorded prints at an even pace. This process is the client: the real stream, bars and engine with
a holding in every symbol, so that each print meets the exit rules. The time counts from the
server's send to the engine's answer. Prices and volumes are recorded (``--dataset``: KRX minute
bars, else the embedded US days, each share's history beginning at eight different years); only
the hour is the present one.
"""

import argparse
import array
import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic_ns
from typing import Any

import psutil
from measure import Result, Spread, show

from trading.wire import stream as wire

SYMBOLS = 40
FRAMES_PER_SECOND = 2_000
# How often the server sends what is due: a feed does not come evenly either.
PULSE_SECONDS = 0.002
# Every so many frames one holds three records, as at the open and the close.
BUNDLE_EVERY, BUNDLE = 20, 3
WARM_SHARE = 0.1
TRADE_TR = "H0STCNT0"
LATENCY_LIMIT_MS, GROWTH_LIMIT_MIB = 5.0, 16.0
Prints = list[tuple[int, int]]


def recorded(dataset: Path | None) -> list[Prints]:
    """Return (price, volume) of the recorded prints of forty instruments, in won or cents."""
    if dataset is not None:
        import pandas as pd

        frame = pd.read_parquet(dataset / "krx_minute.parquet")
        symbol = next(name for name in ("symbol", "code", "ticker") if name in frame)
        largest = frame.groupby(symbol)["volume"].sum().nlargest(SYMBOLS).index
        return [_paths(frame[frame[symbol] == name].head(20_000)) for name in largest]
    from trading.domain.instrument import Market
    from trading.store.datasets import EmbeddedSource

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    frame = source.daily(Market.US, None, days[0], days[-1])
    found = []
    for name in sorted(set(frame["symbol"]))[: SYMBOLS // 8]:
        prints = _paths(frame[frame["symbol"] == name])
        found += [prints[k * len(prints) // 8 :] + prints[: k * len(prints) // 8] for k in range(8)]
    return list(islice(cycle(found), SYMBOLS))


def _paths(bars: Any) -> Prints:
    """Return each bar as its four prints: open, low, high, close with a quarter of the volume."""
    rows = zip(
        *(bars[name].astype("int64") for name in ("open", "low", "high", "close", "volume")),
        strict=True,
    )
    return [
        (int(price), max(1, int(row[4]) // 4)) for row in rows for price in row[:4] if row[4] > 0
    ]


def _ticks(histories: list[Prints]) -> Iterator[tuple[str, int, int, int]]:
    """Yield (symbol, price, volume, cumulative) for ever, one symbol after the other."""
    totals = [0] * len(histories)
    endless = [cycle(prints) for prints in histories]
    while True:
        for k, prints in enumerate(endless):
            price, volume = next(prints)
            totals[k] += volume
            yield f"{k + 1:06d}", price, volume, totals[k]


def venue(pipe: Connection, dataset: Path | None, seconds: float) -> None:
    """Play the venue; tells the port, and at the end when each print was sent."""
    from websockets.asyncio.server import serve

    ticks = _ticks(recorded(dataset))
    sent, overslept = array.array("q"), array.array("q")

    def record(day: str, clock: str) -> str:
        symbol, price, volume, total = next(ticks)
        fields = [""] * 46
        fields[0], fields[1], fields[2], fields[33] = symbol, clock, str(price), day
        fields[12], fields[13] = str(volume), str(total)
        return "^".join(fields)

    async def talk(socket: Any) -> None:
        registered: set[str] = set()
        is_complete = asyncio.Event()

        async def answer() -> None:
            # The client asks again now and then whether its registrations are still known.
            async for text in socket:
                wish = wire.parse_client_message(text)
                assert isinstance(wish, wire.Registration)
                is_new = wish.key not in registered
                registered.add(wish.key)
                await socket.send(
                    wire.reply_message(
                        wire.Reply(tr_id=wish.tr_id, key=wish.key, ok=is_new,
                                   code="OPSP0000" if is_new else "OPSP0002", text="",
                                   encrypted=False, iv="0" * 16, secret="0" * 32)
                    )
                )  # fmt: skip
                if len(registered) == SYMBOLS:
                    is_complete.set()

        answering = asyncio.create_task(answer())
        await is_complete.wait()
        loop = asyncio.get_running_loop()
        begin, frames = loop.time(), 0
        while loop.time() - begin < seconds:
            due = int((loop.time() - begin) * FRAMES_PER_SECOND)
            now = datetime.now(UTC) + timedelta(hours=9)
            day, clock = f"{now:%Y%m%d}", f"{now:%H%M%S}"
            while frames < due:
                frames += 1
                count = BUNDLE if frames % BUNDLE_EVERY == 0 else 1
                text = wire.frame_message(TRADE_TR, [record(day, clock) for _ in range(count)])
                at = monotonic_ns()
                sent.extend([at] * count)
                await socket.send(text)
            before = monotonic_ns()
            await asyncio.sleep(PULSE_SECONDS)
            overslept.append(monotonic_ns() - before - int(PULSE_SECONDS * 1e9))
        await answering

    async def run() -> None:
        async with serve(talk, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            while not pipe.poll():
                await asyncio.sleep(0.1)
            pipe.send_bytes(sent.tobytes())
            pipe.send_bytes(overslept.tobytes())

    asyncio.run(run())


async def client(port: int, seconds: float) -> tuple["array.array[int]", int, int, int, int]:
    """Take the feed; return when each print was decided on, volumes told and seen, and memory."""
    from trading.broker.settings import StreamSettings
    from trading.broker.stream import KisStream
    from trading.clock import WallClock
    from trading.domain.market import Tick
    from trading.execution.bars import BarBuilder

    engine = _engine()
    bars = BarBuilder()

    async def approve() -> str:
        return "feed"

    stream = KisStream(
        f"ws://127.0.0.1:{port}",
        settings=StreamSettings(),
        approve=approve,
        notice=None,
        account="1234567801",
        clock=WallClock(),
        rng=random.Random(1),
    )
    # Made before the memory is looked at, so that keeping the times is no growth.
    done = array.array("q", bytes(8 * int((seconds + 5) * FRAMES_PER_SECOND * 1.2)))
    handled = volume = 0
    totals: dict[str, int] = {}
    process = psutil.Process()
    warm_at, before = int(seconds * WARM_SHARE * 1e9), 0
    gc.collect()
    gc.freeze()
    start = monotonic_ns()
    await stream.register(TRADE_TR, [f"{k + 1:06d}" for k in range(SYMBOLS)])
    is_over = False
    while not is_over:
        await stream.arrived(0.5)
        for event in stream.drain():
            if not isinstance(event, Tick):
                continue
            bars.add(event)
            engine.handle(event)
            done[handled] = monotonic_ns()
            handled += 1
            volume += event.volume
            totals[event.symbol] = event.cumulative_volume
        now = monotonic_ns() - start
        if not before and now > warm_at:
            before = process.memory_info().rss
        is_over = now > (seconds + 2) * 1e9
    after = process.memory_info().rss
    holes = sum(len(track.holes) for track in stream._tracks.values())
    assert stream.connections == 1
    await stream.close()
    missing = sum(totals.values()) - volume
    assert not holes or missing
    return done[:handled], handled, missing, before, after


def _engine() -> Any:
    """Return the engine in a session, holding ten shares of everything, far from every exit."""
    import tempfile

    from trading.backtest.runner import fees_of
    from trading.bootstrap import policy_of
    from trading.config import load_settings
    from trading.domain.decision import TradingState
    from trading.domain.instrument import Market
    from trading.domain.market import Tick
    from trading.domain.rules import shipped_rules
    from trading.execution.decide import RiskState
    from trading.execution.engine import SessionStart, TradingEngine
    from trading.sessions import SessionCalendar
    from trading.simulation.account import Account

    market = Market.KRX
    rules, calendar = shipped_rules(market), SessionCalendar(market)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(Path(folder))
    engine = TradingEngine(
        policy_of(settings, market, calendar),
        Account(market, 10**12),
        RiskState(peak=10**12, cooldown=0, state=TradingState.ACTIVE),
        fees_of(rules, calendar),
    )
    names = [f"{k + 1:06d}" for k in range(SYMBOLS)]
    engine.account.restore(
        {"cash": 10**12, "positions": {name: [10, 10] for name in names}, "traded": {}}
    )
    now = datetime.now(UTC)
    engine.handle(
        SessionStart(
            session=now.date(), open_ts=now - timedelta(hours=1), close_ts=now + timedelta(days=1),
            actions=(), reference=dict.fromkeys(names, 1), withholding_ppb=0,
        )
    )  # fmt: skip
    # What is compiled at the first print is compiled before the feed, as in a session.
    engine.handle(Tick(names[0], 1, 1, 1, now, now))
    return engine


def feed(seconds: float, dataset: Path | None) -> list[Result]:
    """Run the feed for ``seconds`` and return what was found."""
    ours, theirs = Pipe()
    server = Process(target=venue, args=(theirs, dataset, seconds), daemon=True)
    server.start()
    done, handled, missing, before, after = asyncio.run(client(ours.recv(), seconds))
    ours.send("end")
    sent, overslept = array.array("q"), array.array("q")
    sent.frombytes(ours.recv_bytes())
    overslept.frombytes(ours.recv_bytes())
    server.join(10)
    lost = len(sent) - handled
    times = [late - early for early, late in zip(sent, done, strict=False)]
    spread = Spread.of(times)
    return [
        Result(name="소켓에서 판단까지 p99", value=spread.p99 / 1e3, limit=LATENCY_LIMIT_MS,
               unit="ms", spreads={f"{handled:,} prints, {seconds:g} s": spread,
                                   "this machine alone: how late a sleep ends":
                                   Spread.of(overslept)}),
        Result(name="놓친 체결", value=float(lost), limit=0.0, unit="건", spreads={}),
        Result(name="놓친 수량", value=float(missing), limit=0.0, unit="주", spreads={}),
        Result(name="늘어난 메모리", value=(after - before) / 2**20, limit=GROWTH_LIMIT_MIB,
               unit="MiB", spreads={}),
        Result(name="초당 프레임", value=handled / seconds / (1 + (BUNDLE - 1) / BUNDLE_EVERY),
               limit=0.98 * FRAMES_PER_SECOND, unit="건/초", at_least=True, spreads={}),
    ]  # fmt: skip


def main() -> int:
    """Run the feed that was asked for."""
    parser = argparse.ArgumentParser(
        description="실시간 시세를 오래 흘려 보내며 손실과 증가를 봅니다."
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="얼마나 오래 (초).")
    parser.add_argument("--dataset", type=Path, help="한국 분봉이 기록된 폴더.")
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    asked = parser.parse_args()
    return show(feed(asked.seconds, asked.dataset), as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
