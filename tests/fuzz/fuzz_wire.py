"""Coverage-guided fuzzing of frames and REST answers; ``make fuzz`` (an environment of its own).

Not collected by pytest: atheris has wheels for some Python versions only, and its rounds take
minutes. What it finds becomes a case of ``tests/property``.
"""

import asyncio
import json
import random
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from trading.broker.settings import StreamSettings
    from trading.broker.stream import KisStream
    from trading.clock import ManualClock
    from trading.errors import TradingError
    from trading.wire import auth, codes, stream
    from trading.wire import domestic_account as krx_account
    from trading.wire import domestic_bars as krx_bars
    from trading.wire import domestic_orders as krx_orders
    from trading.wire import domestic_quotes as krx_quotes
    from trading.wire import overseas_account as us_account
    from trading.wire import overseas_bars as us_bars
    from trading.wire import overseas_orders as us_orders
    from trading.wire import overseas_quotes as us_quotes

sys.path.insert(0, str(Path(__file__).parents[1]))
from kis_frames import ACCEPTED, CONTROL, DATA, FILLED

NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
IV, SECRET = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
READERS = (
    auth.parse_token,
    auth.parse_approval,
    codes.outcome,
    krx_account.parse_balance,
    krx_account.parse_buying_power,
    krx_bars.parse_daily,
    krx_bars.parse_minute,
    krx_orders.parse_orders,
    lambda body: krx_orders.parse_open_orders(body, NOW),
    lambda body: krx_quotes.parse_price(body, "005930", NOW),
    lambda body: krx_quotes.parse_book(body, "005930"),
    us_account.parse_holdings,
    us_account.parse_present_balance,
    us_bars.parse_daily,
    us_bars.parse_minute,
    us_orders.parse_orders,
    us_orders.parse_open_orders,
    lambda body: us_orders.parse_reserved(body, date(2024, 1, 5)),
    lambda body: us_quotes.parse_price(body, "AAPL", NOW),
    lambda body: us_quotes.parse_book(body, "AAPL"),
)


class _Socket:
    async def send(self, text: str) -> None:
        pass


def _client() -> KisStream:
    async def approve() -> str:
        return "key"

    client = KisStream(
        "ws://127.0.0.1:9",
        settings=StreamSettings(),
        approve=approve,
        notice=("H0STCNI0", "hts"),
        account="1234567801",
        clock=ManualClock(NOW),
        rng=random.Random(1),
    )
    client._keys.update(dict.fromkeys(stream.NOTICE_TRS, (IV, SECRET)))
    return client


_LOOP, _CLIENT = asyncio.new_event_loop(), _client()


def _take(text: str) -> None:
    _LOOP.run_until_complete(_CLIENT._handle(_Socket(), text))
    _CLIENT.drain()


def one_input(data: bytes) -> None:
    """Take one input: its first byte says whether it is a message, a notice or an answer."""
    if not data:
        return
    kind, rest = data[0] % 3, data[1:]
    try:
        if kind == 0:
            _take(stream.text_of(rest))
        elif kind == 1:
            # The fuzzer could never hit upon an encryption.
            text = stream.text_of(rest).replace("|", "")
            tr_id = sorted(stream.NOTICE_TRS)[len(rest) % 4]
            frame = stream.frame_message(tr_id, [text], iv=IV, secret=SECRET)
            _take(frame)
        else:
            body = json.loads(rest, parse_int=str, parse_float=str)
            if isinstance(body, dict):
                READERS[len(rest) % len(READERS)](body)
    except TradingError:
        pass
    except ValueError as error:
        # What is no JSON, the transport refuses before any reader sees it.
        if kind != 2 or not isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise
    except RecursionError:
        if kind != 2:
            raise


def main() -> None:
    """Write the seeds and start the fuzzer; its arguments are libFuzzer's."""
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate((*DATA, *CONTROL)):
        (corpus / f"message-{number}").write_bytes(b"\x00" + text.encode())
    for number, text in enumerate((ACCEPTED, FILLED)):
        (corpus / f"notice-{number}").write_bytes(b"\x01" + text.encode())
    answers = {
        "rt_cd": "0",
        "msg_cd": "X",
        "msg1": "",
        "output": {},
        "output1": [{}],
        "output2": [],
    }
    (corpus / "answer").write_bytes(b"\x02" + json.dumps(answers).encode())
    # The errors of damaged messages are not the news here.
    import logging

    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
