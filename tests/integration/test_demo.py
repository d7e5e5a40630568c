"""The demo as a user runs it: repeatable, continuing, killed at any moment, proven afterwards."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from datetime import date
from pathlib import Path

import psutil
import pytest
from program import (
    EAGER,
    Answer,
    command,
    configure,
    environment,
    ledger_rows,
    trading,
    venue_orders,
)

START = "2004-11-12"
ONE_DAY = ("demo", "--start", START, "--sessions", "1", "--no-prefect", "--json")
SAME = ("decision_hash", "orders_hash", "orders", "final_equity", "cash_difference", "sessions")


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """A home whose lake is filled up to the first session; every test works on its copy."""
    from trading import bootstrap, day
    from trading.bootstrap import DemoRequest
    from trading.domain.instrument import Market

    root = configure(tmp_path_factory.mktemp("imported"), EAGER)
    installation = bootstrap.open_home(root, console=False)
    run = bootstrap.begin_demo(
        installation, Market.US, DemoRequest(start=date.fromisoformat(START), sessions=1)
    )
    context = bootstrap.open_demo_day(installation, run)
    try:
        day.market_data(context)
    finally:
        bootstrap.close_day(context.key)
    return root


@pytest.fixture
def ready(imported, tmp_path) -> Path:
    """A copy of the filled home."""
    return Path(shutil.copytree(imported, tmp_path / "home"))


@pytest.fixture(scope="module")
def undisturbed(imported, tmp_path_factory) -> tuple[Path, Answer]:
    """One session that nobody disturbed, and its home."""
    root = Path(shutil.copytree(imported, tmp_path_factory.mktemp("undisturbed") / "home"))
    answer = trading(root, *ONE_DAY)
    assert answer.code == 0, answer.err
    return root, answer


@pytest.mark.slow
def test_from_an_empty_root_the_same(undisturbed, tmp_path):
    """From an empty root the same command gives the same decisions, orders and money."""
    (tmp_path / "home").mkdir()
    root = configure(tmp_path / "home", EAGER)

    answer = trading(root, *ONE_DAY)

    assert answer.code == 0, answer.err
    again, first = answer.json, undisturbed[1].json
    assert {k: again[k] for k in SAME} == {k: first[k] for k in SAME}
    assert first["orders"] > 2
    assert first["fills"] > first["orders"]
    assert first["cash_difference"] == 0
    assert first["parity"] == {"orders": first["orders"], "differences": 0, "unexplained": 0}
    assert len(venue_orders(root)) == first["orders"]
    assert (root / "data" / "reports" / "demo-us" / START / "report.html").is_file()


@pytest.mark.slow
def test_the_next_run_trades_the_next_sessions(undisturbed, tmp_path):
    """After a finished run the same command goes on where it ended, with the same account.

    Over MSFT's special dividend of 2004-11-15, which it holds: overnight the money moves by the
    tax alone, and the venue agrees to the unit.
    """
    root = Path(shutil.copytree(undisturbed[0], tmp_path / "home"))
    held = 3 * ledger_rows(root, "SELECT count(*) FROM journal WHERE kind = 'fill'")[0][0]

    answer = trading(root, "demo", "--no-prefect", "--json")

    assert answer.code == 0, answer.err
    body = answer.json
    assert held
    assert (body["first_session"], body["last_session"]) == ("2004-11-15", "2004-11-15")
    assert body["cash_difference"] == 0
    assert body["parity"]["differences"] == 0
    ((action,),) = ledger_rows(
        root, "SELECT body FROM journal WHERE kind = 'action' AND session = '2004-11-15'"
    )
    decided = _body(root, "decision", "2004-11-15")
    # Microsoft paid 3 dollars a share and 8 cents; 15 % stays with the Treasury.
    effect = _parsed(action)
    assert (effect["symbol"], effect["amount"]) == ("MSFT", 30_800)
    assert effect["quantity_before"] > 0
    assert effect["withheld"] == effect["quantity_before"] * 30_800 * 15 // 100
    before = undisturbed[1].json["final_equity"]
    assert decided["equity"] == before - effect["withheld"]
    # The run began with what the last close left, and so does the report's day.
    assert body["starting_equity"] == before
    assert body["metrics"]["total_return"] == body["final_equity"] / before - 1
    told = _report(root, "2004-11-15")
    assert [equity for _, equity in told["equity_curve"]] == [
        1_000_000_000,
        before,
        body["final_equity"],
    ]
    assert told["daily_profit"] == body["final_equity"] - before


@pytest.mark.slow
def test_a_report_made_again_says_the_same(undisturbed, tmp_path):
    """Made from ledger and lake after another day was traded, it has the same figures."""
    root = Path(shutil.copytree(undisturbed[0], tmp_path / "home"))
    first = _report(root, START)
    assert trading(root, "demo", "--no-prefect").code == 0

    answer = trading(root, "report", "--session", START)

    assert answer.code == 0, answer.err
    again = _report(root, START)
    del first["counters"], again["counters"]  # of the process that ran the session
    assert again == first
    assert again["quality"]["rows"] > 0


@pytest.mark.slow
def test_over_a_split_the_money_stays(tmp_path):
    """Held over AAPL's 2:1 split of 2005-02-28, the shares double and no cent is lost."""
    (tmp_path / "home").mkdir()
    root = configure(tmp_path / "home", EAGER)

    answer = trading(
        root, "demo", "--start", "2005-02-25", "--sessions", "2", "--no-prefect", "--json"
    )

    assert answer.code == 0, answer.err
    assert answer.json["cash_difference"] == 0
    assert answer.json["parity"]["differences"] == 0
    ((action,),) = ledger_rows(
        root, "SELECT body FROM journal WHERE kind = 'action' AND session = '2005-02-28'"
    )
    effect = _parsed(action)
    assert (effect["symbol"], effect["kind"]) == ("AAPL", "split")
    assert effect["quantity_after"] == 2 * effect["quantity_before"] > 0
    ((closed,),) = ledger_rows(
        root,
        "SELECT body FROM journal WHERE kind = 'session' AND session = '2005-02-25'"
        " AND key LIKE '%closed'",
    )
    assert _body(root, "decision", "2005-02-28")["equity"] == _parsed(closed)["equity"]


@pytest.mark.slow
def test_after_the_last_session(tmp_path):
    """When all recorded sessions are traded, a sentence says so, and that is a finding."""
    (tmp_path / "home").mkdir()
    root = configure(tmp_path / "home", EAGER)
    last = trading(root, "demo", "--start", "2013-03-01", "--no-prefect", "--json")
    assert last.code == 0, last.err

    beyond = trading(root, "demo", "--no-prefect")

    assert beyond.code == 1
    assert "2013-03-01 다음에 기록된 거래일이 없습니다" in beyond.err
    assert beyond.out == ""


@pytest.mark.parametrize(
    ("victims", "kind", "count"),
    [
        pytest.param(("session",), "fill", 1, marks=pytest.mark.slow),
        pytest.param(("exchange",), "update", 1, marks=pytest.mark.slow),
        (("session", "exchange"), "intent", 2),
    ],
)
def test_killed_and_repeated(undisturbed, ready, victims, kind, count):
    """``kill -9``, the same command again: the day as if nothing had happened.

    Every boundary of the order path: ``test_chaos``.
    """
    session = subprocess.Popen(
        command(ready, *ONE_DAY), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(), cwd=ready,
    )  # fmt: skip
    try:
        _wait_for(ready, session, kind, count)
        exchange = _exchange_pid(ready)
        if "session" in victims:
            session.kill()
        if "exchange" in victims:
            os.kill(exchange, signal.SIGKILL)
        _, said = session.communicate(timeout=90)
    finally:
        session.kill()
    assert "Traceback" not in said

    answer = trading(ready, *ONE_DAY)

    assert answer.code == 0, answer.err
    again, first = answer.json, undisturbed[1].json
    assert {k: again[k] for k in SAME} == {k: first[k] for k in SAME}
    assert again["parity"] == first["parity"]
    assert len(venue_orders(ready)) == first["orders"]


def test_a_second_demo_at_once(undisturbed, ready):
    """While one run trades an account, another is told so, and the first goes on unharmed."""
    first = subprocess.Popen(
        command(ready, *ONE_DAY), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(), cwd=ready,
    )  # fmt: skip
    try:
        _wait_for(ready, first, "intent", 1)
        os.kill(first.pid, signal.SIGSTOP)
        second = [trading(ready, "demo", *more, "--no-prefect") for more in ((), ("--fresh",))]
        os.kill(first.pid, signal.SIGCONT)
        out, err = first.communicate(timeout=90)
    finally:
        first.kill()

    assert [one.code for one in second] == [1, 1]
    assert all("다른 실행이 이 계좌로 거래하는 중" in one.err for one in second)
    assert first.returncode == 0, err
    assert (
        Answer(code=0, out=out, err=err).json["orders_hash"] == undisturbed[1].json["orders_hash"]
    )


@pytest.mark.parametrize(
    ("ask", "by_flow"),
    [
        pytest.param(signal.SIGTERM, False, id="plain-SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, id="flow-SIGTERM"),
        pytest.param(signal.SIGINT, True, id="flow-SIGINT", marks=pytest.mark.slow),
    ],
)
def test_asked_to_end(undisturbed, ready, ask, by_flow):
    """In the middle of a day: a sentence, nobody left behind; the same command goes on.

    Prefect runs a day in a thread of its own: that one ends too, and trades no further.
    """
    begun = [word for word in ONE_DAY if not (by_flow and word == "--no-prefect")]
    session = subprocess.Popen(
        command(ready, *begun), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(), cwd=ready,
    )  # fmt: skip
    try:
        _wait_for(ready, session, "mark", 10)
        exchange = _exchange_pid(ready)
        session.send_signal(ask)
        _, said = session.communicate(timeout=90)
    finally:
        session.kill()

    assert session.returncode == 1
    query = "SELECT count(*) FROM journal WHERE kind = 'session' AND key LIKE '%closed'"
    assert ledger_rows(ready, query) == [(0,)]
    assert "같은 명령을 다시 치면 이어서 합니다" in said
    assert "Traceback" not in said
    assert not psutil.pid_exists(exchange) or (
        psutil.Process(exchange).status() == psutil.STATUS_ZOMBIE
    )
    answer = trading(ready, *ONE_DAY)
    assert answer.code == 0, answer.err
    assert {k: answer.json[k] for k in SAME} == {k: undisturbed[1].json[k] for k in SAME}


def test_stopped_while_its_exchange_starts(ready, monkeypatch):
    """An exchange that answers nobody yet ends with the run that started it."""
    from trading import bootstrap
    from trading.bootstrap import DemoRequest
    from trading.domain.instrument import Market

    installation = bootstrap.open_home(ready, console=False)
    first = date.fromisoformat(START)
    run = bootstrap.begin_demo(installation, Market.US, DemoRequest(start=first, sessions=1))

    def interrupted(seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(bootstrap.time, "sleep", interrupted)
        bootstrap.ensure_exchange(installation, run, first)

    deadline = time.monotonic() + 10
    while (alive := _at_work_on(ready)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in alive:
        process.kill()
    assert alive == []


@pytest.mark.slow
def test_the_venue_forgot(undisturbed, tmp_path):
    """When the exchange's memory was deleted, nothing is traded before somebody has looked."""
    root = Path(shutil.copytree(undisturbed[0], tmp_path / "home"))
    shutil.rmtree(root / "data" / "exchange")

    answers = [trading(root, "demo", "--no-prefect") for _ in range(2)]

    assert [answer.code for answer in answers] == [3, 3]
    assert all("계좌가 달라 거래하지 않았습니다" in answer.err for answer in answers)
    assert len(venue_orders(root)) == 0


def test_the_ledger_was_deleted(undisturbed, tmp_path):
    """Orders that no ledger knows are taken over as somebody else's; none is sent again."""
    root = Path(shutil.copytree(undisturbed[0], tmp_path / "home"))
    shutil.rmtree(root / "data" / "ledger")

    answer = trading(root, *ONE_DAY)

    orders = undisturbed[1].json["orders"]
    assert answer.code == 1
    assert answer.err.count("손으로 낸 주문 발견") == orders
    assert (answer.json["orders"], answer.json["cash_difference"]) == (0, 0)
    assert len(venue_orders(root)) == orders


@pytest.mark.slow
def test_an_unreadable_ledger(undisturbed, tmp_path):
    """A broken ledger is said and kept; a new account may begin beside it."""
    root = Path(shutil.copytree(undisturbed[0], tmp_path / "home"))
    ledger = root / "data" / "ledger" / "demo-us.db"
    ledger.write_bytes(b"no database at all" * 500)

    refused = trading(root, "demo", "--no-prefect")
    anew = trading(root, *ONE_DAY)

    assert refused.code == 3
    assert "장부 파일이 깨졌음" in refused.err
    assert anew.code == 0, anew.err
    assert anew.json["orders_hash"] == undisturbed[1].json["orders_hash"]
    (kept,) = (root / "data" / "archive").glob("*unreadable*/demo-us.db")
    assert kept.read_bytes().startswith(b"no database")


def test_another_source_begins_with_an_empty_lake(ready):
    """Prices and splits of two sources never mix: the first one's are kept aside."""
    from trading import bootstrap, day
    from trading.bootstrap import DemoRequest
    from trading.domain.instrument import Market
    from trading.store.journal import EVERYTHING, Journal, origins

    lake = ready / "data" / "lake"
    foreign = lake / "clean" / "market=US" / "kind=daily" / "month=1999-01"
    foreign.mkdir()
    elsewhere = Journal(lake, Market.US, "/somewhere/else")
    elsewhere.add("daily", {EVERYTHING: (date(1999, 1, 4), date(1999, 1, 29))})
    installation = bootstrap.open_home(ready, console=False)
    run = bootstrap.begin_demo(
        installation, Market.US, DemoRequest(start=date.fromisoformat(START), sessions=1)
    )
    context = bootstrap.open_demo_day(installation, run)
    try:
        result = day.market_data(context)
        again = day.market_data(context)
    finally:
        bootstrap.close_day(context.key)

    assert result.summary["rows"] > 0
    assert again.summary["rows"] == 0
    assert origins(lake, Market.US) == {"embedded"}
    assert not foreign.exists()
    (aside,) = (ready / "data" / "archive").glob("lake-us-*")
    assert (aside / "clean" / "market=US" / "kind=daily" / "month=1999-01").is_dir()


def test_planted_differences_are_named(undisturbed, tmp_path):
    """Parity names a shifted bar, a changed price and a dropped fill, each exactly."""
    clean = trading(undisturbed[0], "parity", "--json")
    assert clean.code == 0, clean.err
    assert clean.json["differences"] == 0

    shifted = Path(shutil.copytree(undisturbed[0], tmp_path / "shifted"))
    _change_bar(shifted, "IBM", shift=True)
    changed = Path(shutil.copytree(undisturbed[0], tmp_path / "changed"))
    _change_bar(changed, "AAPL", shift=False)
    dropped = Path(shutil.copytree(undisturbed[0], tmp_path / "dropped"))
    symbol = _drop_a_fill(dropped)

    found = {root.name: trading(root, "parity", "--json") for root in (shifted, changed, dropped)}

    assert {answer.code for answer in found.values()} == {1}
    named = {
        name: [(d["kind"], d["symbol"]) for d in answer.json["details"] if d["kind"] != "decision"]
        for name, answer in found.items()
    }
    assert named["shifted"][0] == ("bar_shifted", "IBM")
    assert {s for kind, s in named["shifted"] if kind.startswith("bar")} == {"IBM"}
    assert named["changed"][0] == ("bar_changed", "AAPL")
    assert {s for kind, s in named["changed"] if kind.startswith("bar")} == {"AAPL"}
    assert named["dropped"] == [("fill_dropped", symbol)]
    assert found["dropped"].json["unexplained"] == 1
    assert found["shifted"].json["unexplained"] == found["changed"].json["unexplained"] == 0


def _wait_for(root: Path, process: subprocess.Popen[str], kind: str, count: int) -> None:
    """Return at the moment at which the ledger holds ``count`` records of ``kind``."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.Error):
            query = "SELECT count(*) FROM journal WHERE kind = ? AND session = ?"
            if ledger_rows(root, query, (kind, START))[0][0] >= count:
                return
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(f"ended before {count} x {kind}: {process.stderr.read()}")
    raise AssertionError(f"never {count} x {kind}")


def _at_work_on(root: Path) -> list[psutil.Process]:
    """Return the living processes whose command names a home; a zombie has no command."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if str(root) in (process.info["cmdline"] or [])]


def _exchange_pid(root: Path) -> int:
    return int(_parsed((root / "data" / "exchange" / "demo-us" / "port.json").read_text())["pid"])


def _change_bar(root: Path, symbol: str, *, shift: bool) -> None:
    """Plant yesterday's bar on the session, or one cent on its close, in the lake itself."""
    import pandas as pd

    from trading.domain.instrument import Market
    from trading.store.lake import Lake

    lake = Lake(root / "data" / "lake")
    session = date.fromisoformat(START)
    bar = lake.daily(Market.US, [symbol], session, session)
    if shift:
        before = lake.daily(Market.US, [symbol], date(2004, 11, 11), date(2004, 11, 11))
        bar = before.assign(session=bar["session"].array)
    else:
        bar = bar.assign(close=bar["close"] + 100)
    assert isinstance(bar, pd.DataFrame)
    lake.upsert(Market.US, "daily", bar, layer="clean")


def _drop_a_fill(root: Path) -> str:
    """Take the last fill out of the ledger, as if it had been lost; return its symbol."""
    path = root / "data" / "ledger" / "demo-us.db"
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER journal_no_delete")
        seq, body = db.execute(
            "SELECT seq, body FROM journal WHERE kind = 'fill' ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        db.execute("DELETE FROM journal WHERE seq = ?", (seq,))
    db.close()
    return str(_parsed(body)["symbol"])


def _report(root: Path, session: str) -> dict:
    folder = root / "data" / "reports" / "demo-us" / session
    return json.loads((folder / f"performance_{session}.json").read_text())


def _body(root: Path, kind: str, session: str) -> dict:
    ((body,),) = ledger_rows(
        root, "SELECT body FROM journal WHERE kind = ? AND session = ?", (kind, session)
    )
    return _parsed(body)


def _parsed(text: str) -> dict:
    import json

    return json.loads(text)
