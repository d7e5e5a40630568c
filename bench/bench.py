"""Speed of the live path, as ratios against references timed in the same run.

``make bench``, or ``python bench/bench.py [--json] [--only NAME]``. What the numbers mean and what
they were is in ``docs/benchmarks.md``.
"""

import argparse
import asyncio
import gc
import json
import random
import socket
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing import Process, Queue
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any

from measure import Result, Spread, show, time_calls

from trading.wire import layouts
from trading.wire import stream as wire

# As recorded on 2023-06-12, from KIS's own documentation (PROTOCOL 12.3).
FRAME = (
    "0|H0STCNT0|001|005930^093354^71900^5^-100^-0.14^72023.83^72100^72400^71700^71900^71800^1^"
    "3052507^219853241700^5105^6937^1832^84.90^1366314^1159996^1^0.39^20.28^090020^5^-200^090820^5^"
    "-500^092619^2^200^20230612^20^N^65945^216924^1118750^2199206^0.05^2424142^125.92^0^^72100"
)
NAMES = tuple(name for name, _ in layouts.LAYOUTS["H0STCNT0"])
NOW = datetime(2023, 6, 12, 0, 33, 54, tzinfo=UTC)


def decode() -> Result:
    """A trade frame against a dictionary of its fields."""
    decoder = wire.TradeDecoder()
    decoder.begin(NOW)
    decoder.read(wire.parse_frame(FRAME), NOW)
    assert decoder.decode(FRAME, NOW) is not None
    width = len(NAMES)
    three = FRAME.replace("|001|", "|003|") + ("^" + FRAME.rpartition("|")[2]) * 2

    def as_dicts(text: str) -> list[dict[str, str]]:
        _, _, count, payload = text.split("|", 3)
        fields = payload.split("^")
        return [
            dict(zip(NAMES, fields[width * k : width * (k + 1)], strict=True))
            for k in range(int(count))
        ]

    payload = FRAME.rpartition("|")[2]
    calls: dict[str, Callable[[], Any]] = {
        "dictionary of the frame's 46 fields": partial(as_dicts, FRAME),
        "dictionary, payload cut out beforehand": lambda: dict(
            zip(NAMES, payload.split("^"), strict=False)
        ),
        "our decoder": partial(decoder.decode, FRAME, NOW),
        "our decoder, head or second new": lambda: decoder.read(wire.parse_frame(FRAME), NOW),
        "our decoder, three records": lambda: decoder.read(wire.parse_frame(three), NOW),
        "dictionaries of three records": partial(as_dicts, three),
    }
    times = _interleaved(calls, rounds=3000, per=20)
    spreads = {name: Spread.of(times[name], per=20) for name in calls}
    ratio = spreads["dictionary of the frame's 46 fields"].p50 / spreads["our decoder"].p50
    return Result(
        name="체결 프레임 해독 (항목 46개 사전 대비 빠르기)",
        value=ratio,
        limit=4.0,
        unit="배",
        at_least=True,
        spreads=spreads,
    )


def _interleaved(
    calls: dict[str, Callable[[], Any]], *, rounds: int, per: int
) -> dict[str, list[int]]:
    """Time all calls in turns, so that what else the machine does meets each alike."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        time_calls(call, samples=10, per=per)
    for _ in range(rounds):
        for name, call in calls.items():
            begin = perf_counter_ns()
            for _ in range(per):
                call()
            times[name].append(perf_counter_ns() - begin)
    return times


# --- REST --------------------------------------------------------------------------------------

REPLY = json.dumps(
    {
        "rt_cd": "0",
        "msg_cd": "APBK0013",
        "msg1": "주문 전송 완료 되었습니다.",
        "output": {"KRX_FWDG_ORD_ORGNO": "06010", "ODNO": "0001569157", "ORD_TMD": "155211"},
    },
    ensure_ascii=False,
).encode()
TOKEN = json.dumps(
    {
        "access_token": "t" * 300,
        "access_token_token_expired": "2099-01-01 00:00:00",
        "token_type": "Bearer",
        "expires_in": 86400,
    }
).encode()


def _serve(ports: "Queue[int]") -> None:
    """Answer every request at once, on a connection that stays."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if length:
                await reader.readexactly(length)
            body = TOKEN if b"/oauth2/" in head[:40] else REPLY
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n"
                b"tr_id: TTTC0012U\r\ntr_cont: \r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def rest() -> Result:
    """A call through the transport against the same call by bare ``requests``."""
    import requests

    from trading.broker.rest import Priority, RestTransport
    from trading.broker.settings import Credentials, KisSettings
    from trading.clock import WallClock
    from trading.config import load_settings
    from trading.wire.endpoints import BY_PATH, Profile

    ports: Queue[int] = Queue()
    server = Process(target=_serve, args=(ports,), daemon=True)
    server.start()
    port = ports.get()
    endpoint = BY_PATH["/uapi/domestic-stock/v1/trading/order-cash"]
    fields = {"CANO": "12345678", "ACNT_PRDT_CD": "01", "PDNO": "005930", "ORD_DVSN": "00",
              "ORD_QTY": "10", "ORD_UNPR": "71900", "EXCG_ID_DVSN_CD": "KRX",
              "SLL_TYPE": "", "CNDT_PRIC": ""}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shipped: KisSettings = load_settings(Path(folder)).kis
        real = shipped.profiles[Profile.REAL].model_copy(update={"calls_per_second": 5_000})
        settings = shipped.model_copy(update={"profiles": {**shipped.profiles, Profile.REAL: real}})
        transport = RestTransport(
            settings,
            profile=Profile.REAL,
            credentials=Credentials(
                app_key="bench", app_secret="bench", account="1234567801", hts_id="bench"
            ),
            clock=WallClock(),
            cache_dir=Path(folder),
            rng=random.Random(1),
            base=f"http://127.0.0.1:{port}",
        )
        sent = transport.start(endpoint, fields, priority=Priority.ORDER, variant="buy").result()
        assert sent.body["rt_cd"] == "0"
        bare = requests.Session()
        headers = {"authorization": "Bearer " + "t" * 300, "appkey": "bench", "appsecret": "bench",
                   "tr_id": "TTTC0012U", "custtype": "P", "tr_cont": ""}  # fmt: skip
        url = f"http://127.0.0.1:{port}{endpoint.path}"
        body = json.dumps(fields).encode()
        request = (
            f"POST {endpoint.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            + f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        line = socket.create_connection(("127.0.0.1", port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def wire_alone() -> None:
            line.sendall(request)
            answer = b""
            while REPLY not in answer:
                answer += line.recv(65536)

        calls: dict[str, Callable[[], Any]] = {
            "the wire alone (socket, ready-made bytes)": wire_alone,
            "bare requests.Session, kept alive": lambda: bare.post(
                url, json=fields, headers=headers, timeout=10
            ).json(),
            "our call, queue and budget included": lambda: transport.start(
                endpoint, fields, priority=Priority.ORDER, variant="buy"
            ).result(),
        }
        times = _interleaved(calls, rounds=1500, per=1)
        transport.close()
        line.close()
    server.terminate()
    spreads = {name: Spread.of(times[name]) for name in calls}
    alone, plain, ours = (spread.p50 for spread in spreads.values())
    spreads["own cost: our call without the wire"] = Spread.of(
        [max(0, ours_ - alone_) for alone_, _, ours_ in zip(*times.values(), strict=True)]
    )
    return Result(
        name="REST 호출의 자체 비용 (requests 한 번 왕복 대비)",
        value=(ours - alone) / plain,
        limit=0.5,
        unit="배",
        spreads=spreads,
    )


# --- decision ----------------------------------------------------------------------------------


def decision() -> list[Result]:
    """From the frame to the bytes of the order it causes: a stop, with every guard."""
    from desk import Desk

    desk = Desk()
    orders: list[int] = []
    work: list[int] = []
    quiet: list[int] = []
    gc.collect()
    gc.freeze()
    for k in range(4000):
        still, text = desk.frames(k)
        begin = perf_counter_ns()
        assert desk.order_bytes(still) is None
        quiet.append(perf_counter_ns() - begin)
        begin, worked = perf_counter_ns(), thread_time_ns()
        sent = desk.order_bytes(text)
        work.append(thread_time_ns() - worked)
        orders.append(perf_counter_ns() - begin)
        assert sent is not None
        desk.forget()
    commits = desk.commits(300)
    spreads = {
        "frame to order bytes (stop, all guards)": Spread.of(orders[200:]),
        "the same, processor time alone": Spread.of(work[200:]),
        "frame to decision, nothing to do": Spread.of(quiet[200:]),
        "commit of the intent, synchronous=FULL": Spread.of(commits),
    }
    acting = spreads["frame to order bytes (stop, all guards)"]
    return [
        Result(name="프레임에서 주문 바이트까지 p50", value=acting.p50, limit=50.0, unit="µs",
               spreads=spreads),
        Result(name="프레임에서 주문 바이트까지 p99", value=acting.p99, limit=250.0, unit="µs",
               spreads={}),
    ]  # fmt: skip


BENCHES: dict[str, Callable[[], Result | list[Result]]] = {
    "decode": decode,
    "rest": rest,
    "decision": decision,
}


def main() -> int:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(
        description="실시간 경로의 속도를 같은 실행 안의 기준과 비교합니다."
    )
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    parser.add_argument("--only", choices=sorted(BENCHES), help="하나만 잽니다.")
    asked = parser.parse_args()
    results: list[Result] = []
    for name, bench in BENCHES.items():
        if asked.only in (None, name):
            found = bench()
            results += found if isinstance(found, list) else [found]
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
