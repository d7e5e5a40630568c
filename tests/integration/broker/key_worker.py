"""One process of several that share an app key: threads that ask for prices.

Arguments as one JSON object; prints one JSON object: answers, refusals, first and last instant.
"""

import json
import random
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

from trading.broker.rest import Priority, RestTransport
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.errors import BrokerError
from trading.wire import endpoints
from trading.wire.endpoints import Profile


def main() -> None:
    """Make the calls and say how they went."""
    asked = json.loads(sys.argv[1])
    profile = ProfileSettings(
        rest_base=asked["base"],
        ws_base="ws://127.0.0.1:1",
        calls_per_second=asked["limit"],
        reserved_for_cancel=asked["reserve"],
    )
    transports = [
        RestTransport(
            KisSettings(profiles={Profile.REAL: profile, Profile.PAPER: profile}),
            profile=Profile.REAL,
            credentials=Credentials(
                app_key=asked["key"],
                app_secret=asked["secret"],
                account="12345678",
                hts_id="trader1",
            ),
            clock=ManualClock(datetime.fromisoformat(asked["now"])),
            cache_dir=Path(asked["cache"]),
            rng=random.Random(seed),
        )
        for seed in range(asked["threads"])
    ]
    answered: list[float] = []
    failed: list[str] = []

    def ask(transport: RestTransport) -> None:
        for _ in range(asked["calls"]):
            future = transport.start(
                endpoints.US_PRICE,
                {"AUTH": "", "EXCD": "NYS", "SYMB": "IBM"},
                priority=Priority.QUOTE,
            )
            try:
                future.result(60)
                answered.append(time.monotonic())
            except BrokerError as error:
                failed.append(f"{type(error).__name__} {error}")

    # All processes begin together, so that they meet the same moment.
    threading.Event().wait(max(0.0, asked["begin"] - time.monotonic()))
    threads = [threading.Thread(target=ask, args=(one,)) for one in transports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(
        json.dumps(
            {
                "answered": len(answered),
                "failed": failed,
                "refused_for_rate": sum(one.rate_refusals for one in transports),
                "first": min(answered, default=0.0),
                "last": max(answered, default=0.0),
            }
        )
    )
    for one in transports:
        one.close()


if __name__ == "__main__":
    main()
