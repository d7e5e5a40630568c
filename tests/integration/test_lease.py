"""Two real processes on one account: the one that lost its lease while it slept writes no more."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from trading import bootstrap
from trading.config import Env, resolve_root
from trading.domain.instrument import Market
from trading.errors import LeaseLostError, SessionBusyError
from trading.ports import Record, RecordKind

# Holds the account and, a line at a time, writes an intent and "sends" it; like a session, it
# sends only what it could write.
HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from trading import bootstrap
from trading.config import Env, resolve_root
from trading.domain.instrument import Market
from trading.errors import LeaseLostError
from trading.ports import Record, RecordKind

home = resolve_root(Path(sys.argv[1]))
lease = bootstrap._lease(home, "demo-us")
ledger = bootstrap.open_ledger(home, Env.DEMO, Market.US)
ledger.claim()
print("holding", flush=True)
for line in sys.stdin:
    ts = datetime(2005, 5, 27, 13, tzinfo=UTC)
    intent = Record(kind=RecordKind.INTENT, key=line.strip(), session=ts.date(), ts=ts)
    try:
        ledger.append(intent)
    except LeaseLostError as error:
        print("lost", error, flush=True)
        break
    print("sent", line.strip(), flush=True)
"""


def _intent(key):
    ts = datetime(2005, 5, 27, 13, tzinfo=UTC)
    return Record(kind=RecordKind.INTENT, key=key, session=ts.date(), ts=ts)


def test_a_stopped_holder_wakes_up_without_its_account(tmp_path):
    """While it is alive nobody gets its lease; when the lease was taken all the same, it stops."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdin is not None and holder.stdout is not None

    def ask(key):
        holder.stdin.write(f"{key}\n")
        holder.stdin.flush()

    try:
        assert holder.stdout.readline() == "holding\n"
        ask("first")
        assert holder.stdout.readline() == "sent first\n"
        os.kill(holder.pid, signal.SIGSTOP)
        home = resolve_root(tmp_path)

        with pytest.raises(SessionBusyError, match="다른 실행이 이 계좌로 거래하는 중"):
            bootstrap._lease(home, "demo-us")
        # A lock on a lost network drive, or removed by somebody who thought it was stale.
        (home.data_dir / "run" / "demo-us.lock").unlink()
        lease = bootstrap._lease(home, "demo-us")
        ledger = bootstrap.open_ledger(home, Env.DEMO, Market.US)
        ledger.claim()
        ledger.append(_intent("second"))
        ask("third")
        os.kill(holder.pid, signal.SIGCONT)
        answer = holder.stdout.readline()

        assert answer.startswith("lost 다른 실행이 이 계좌를 넘겨받아")
        assert [r.key for r in ledger.read(RecordKind.INTENT)] == ["first", "second"]
        assert holder.wait(timeout=20) == 0
        ledger.close()
        lease.release()
    finally:
        holder.kill()
        holder.wait()


def test_a_dead_holder_leaves_the_account_free(tmp_path):
    """The operating system frees the lease of a killed process; its fence is raised by the next."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    holder.kill()
    holder.wait()

    home = resolve_root(tmp_path)
    lease = bootstrap._lease(home, "demo-us")
    first = bootstrap.open_ledger(home, Env.DEMO, Market.US)
    second = bootstrap.open_ledger(home, Env.DEMO, Market.US)
    first.claim()
    second.claim()

    with pytest.raises(LeaseLostError):
        first.append(_intent("late"))
    assert second.append(_intent("now")) == 1
    for ledger in (first, second):
        ledger.close()
    lease.release()


def test_a_day_waits_for_whoever_holds_its_account_for_a_moment(tmp_path):
    """A halt or the watch's look at the account costs no day; a session that trades is not waited for."""
    home = resolve_root(tmp_path)
    begun, taken = threading.Event(), []

    def begin_a_day():
        begun.set()
        taken.append(bootstrap._lease(home, "demo-us"))

    day = threading.Thread(target=begin_a_day)
    with bootstrap.account_held(home, Env.DEMO, Market.US):
        day.start()
        begun.wait(10)
        assert day.is_alive() and taken == []
    day.join(30)

    (lease,) = taken
    assert lease.is_locked
    with (
        pytest.raises(SessionBusyError, match="다른 실행이 이 계좌로 거래하는 중"),
        bootstrap.account_held(home, Env.DEMO, Market.US),
    ):
        pass
    lease.release()
    with bootstrap.account_held(home, Env.DEMO, Market.US):
        pass
