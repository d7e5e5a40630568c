"""Log files, their masking, and their turning over."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from trading import log as logs
from trading.clock import ManualClock


@pytest.fixture
def folder(tmp_path):
    """Log into a folder of its own, and to nowhere afterwards."""
    logs.configure(tmp_path / "logs", console=False)
    yield tmp_path / "logs"
    logs.configure(None)


def lines(file):
    """Return the JSON lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_line_goes_to_its_files(folder):
    """Everything to trading, errors to errors, the order's life to trades."""
    logs.get_logger("a").info("장 시작", session="2024-01-08")
    logs.get_trade_log().info("주문 접수", order_id="7")
    logs.get_trade_log().error("주문 거부", order_id="8")

    assert [x["event"] for x in lines(folder / "trading.jsonl")] == [
        "장 시작",
        "주문 접수",
        "주문 거부",
    ]
    assert [x["event"] for x in lines(folder / "trades.jsonl")] == ["주문 접수", "주문 거부"]
    assert [x["order_id"] for x in lines(folder / "errors.jsonl")] == ["8"]


def test_errors_carry_their_stack(folder):
    """An exception is recorded with its traceback, a plain error with its caller."""
    log = logs.get_logger("a")
    try:
        raise ValueError("값 오류")
    except ValueError:
        log.exception("계산 실패", symbol="AAPL")
    log.error("응답 없음")
    error = KeyError("x")
    log.error("조회 실패", exc_info=error)

    raised, plain, given = lines(folder / "errors.jsonl")
    assert raised["error"] == "ValueError: 값 오류"
    assert "Traceback" in raised["stack"]
    assert raised["symbol"] == "AAPL"
    assert "test_log.py" in plain["stack"]
    assert given["error"] == "KeyError: 'x'"
    assert all("stack" not in line for line in lines(folder / "trading.jsonl"))


def test_secrets_never_reach_a_file(folder):
    """Secret keys are masked at any depth, registered values wherever they appear."""
    logs.register_secret("PSverysecretvalue")
    logs.register_secret("ab")
    log = logs.get_logger("a")

    log.info(
        "요청",
        appkey="k1",
        app_secret="k2",
        headers={"authorization": "Bearer k3", "tr_id": "TTTC0802U"},
        account="12345678-01",
        body=[{"CANO": "12345678"}, "use PSverysecretvalue here"],
        url=ValueError("https://host/?key=PSverysecretvalue"),
        symbol="ab",
        token="",
    )

    text = (folder / "trading.jsonl").read_text(encoding="utf-8")
    (line,) = lines(folder / "trading.jsonl")
    for secret in ("k1", "k2", "k3", "12345678", "PSverysecretvalue"):
        assert secret not in text
    assert line["headers"]["tr_id"] == "TTTC0802U"
    assert line["symbol"] == "ab"


def test_quiet_levels_are_dropped(tmp_path, folder):
    """Below the chosen level nothing is written; a later configure moves the files."""
    logs.get_logger("a").debug("상세")
    assert (folder / "trading.jsonl").exists() is False

    logs.configure(tmp_path / "other", level="debug", console=False)
    logs.get_logger("a").debug("상세")

    assert [x["level"] for x in lines(tmp_path / "other" / "trading.jsonl")] == ["debug"]


def test_yesterdays_file_is_put_aside(tmp_path):
    """A file last written before today is renamed with its day and a new one begun."""
    seoul = ZoneInfo("Asia/Seoul")
    folder = tmp_path / "logs"
    folder.mkdir()
    old = folder / "trading.jsonl"
    old.write_text('{"event": "어제"}\n', encoding="utf-8")
    written = datetime.fromtimestamp(old.stat().st_mtime, seoul) - timedelta(days=1)
    os.utime(old, (written.timestamp(), written.timestamp()))

    logs.configure(folder, console=False)
    logs.get_logger("a").info("오늘")
    logs.configure(None)

    assert [x["event"] for x in lines(folder / f"trading-{written.date()}.jsonl")] == ["어제"]
    assert [x["event"] for x in lines(folder / "trading.jsonl")] == ["오늘"]


def test_the_console_is_korean_and_on_stderr(capsys):
    """Time, level and message in Korean on stderr; stdout stays for results."""
    logs.configure(None)
    logs.get_logger("a").warning("시세 지연", symbol="IBM")

    out, err = capsys.readouterr()
    assert out == ""
    assert err.rstrip().endswith("주의 시세 지연  symbol=IBM")


def test_an_error_without_files_shows_its_stack(capsys):
    """Where no file keeps the stack, the console shows it."""
    logs.configure(None)
    try:
        raise ValueError("값 오류")
    except ValueError:
        logs.get_logger("a").exception("실패")

    assert "Traceback" in capsys.readouterr().err


def test_korean_survives_a_c_locale(tmp_path):
    """With LANG=C and UTF-8 mode off, console and files still carry Korean."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, trading.log as l\n"
        f"l.configure(pathlib.Path({str(tmp_path)!r}))\n"
        "l.get_logger('a').info('주문 접수')\n",
        encoding="utf-8",
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    result = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, encoding="utf-8", check=True
    )

    assert "정보 주문 접수" in result.stderr
    assert lines(tmp_path / "trading.jsonl")[0]["event"] == "주문 접수"


def test_a_day_that_comes_twice_loses_nothing(tmp_path):
    """A clock that was set back: the day's second file gets a name of its own."""
    folder = tmp_path / "logs"
    folder.mkdir()
    old = folder / "trading.jsonl"
    old.write_text('{"event": "둘째"}\n', encoding="utf-8")
    written = datetime.fromtimestamp(old.stat().st_mtime, ZoneInfo("Asia/Seoul")) - timedelta(
        days=1
    )
    os.utime(old, (written.timestamp(), written.timestamp()))
    first = folder / f"trading-{written.date()}.jsonl"
    first.write_text('{"event": "첫째"}\n', encoding="utf-8")

    logs.configure(folder, console=False)
    logs.get_logger("a").info("오늘")
    logs.configure(None)

    assert [x["event"] for x in lines(first)] == ["첫째"]
    assert [x["event"] for x in lines(folder / f"trading-{written.date()}.2.jsonl")] == ["둘째"]


def test_a_line_that_is_on_its_way_at_midnight_is_not_lost(folder, monkeypatch, capsys):
    """Another thread turns the file over between the look at the clock and the write."""
    evening = datetime.now(ZoneInfo("Asia/Seoul")).replace(hour=23, minute=59) + timedelta(days=2)
    clock, write, others = ManualClock(evening), os.write, []
    monkeypatch.setattr(logs, "_CLOCK", clock)
    logs.get_logger("a").info("저녁")

    def interrupted(fd, line):
        monkeypatch.setattr(os, "write", write)
        clock.set(evening + timedelta(minutes=2))
        others.append((folder / "ledger.db").open("wb"))
        logs.get_logger("b").info("자정 뒤")
        return write(fd, line)

    monkeypatch.setattr(os, "write", interrupted)
    logs.get_logger("a").info("자정에")
    for other in others:
        other.close()

    (past,) = folder.glob("trading-*.jsonl")
    assert [x["event"] for x in lines(past)] == ["저녁"]
    assert [x["event"] for x in lines(folder / "trading.jsonl")] == ["자정 뒤", "자정에"]
    assert "unwritten" not in capsys.readouterr().err


def test_the_same_choice_again_leaves_the_files_open(folder, monkeypatch):
    """A home that is opened again while others log takes no file away from them."""
    logs.get_logger("a").info("먼저")
    write = os.write

    def interrupted(fd, line):
        monkeypatch.setattr(os, "write", write)
        logs.configure(folder, console=False)
        return write(fd, line)

    monkeypatch.setattr(os, "write", interrupted)
    logs.get_logger("a").info("그사이")

    assert [x["event"] for x in lines(folder / "trading.jsonl")] == ["먼저", "그사이"]


def test_any_field_can_be_written(folder):
    """Counts by day are no reason to end what logs them."""
    logs.get_logger("a").info("세었음", counts={date(2024, 1, 8): 2, ("us", "AAPL"): 1})

    (line,) = lines(folder / "trading.jsonl")
    assert line["counts"] == {"2024-01-08": 2, "('us', 'AAPL')": 1}


def test_old_files_are_removed_each_by_its_own_age(tmp_path):
    """General lines go before those of orders; what no rule names stays."""
    folder = tmp_path / "logs"
    folder.mkdir()
    today = datetime.now(ZoneInfo("Asia/Seoul")).date()
    for name in ("trading", "trades", "errors"):
        for age in (5, 20, 200):
            path = folder / f"{name}-{today - timedelta(days=age)}.jsonl"
            path.write_text("{}\n", encoding="utf-8")
    (folder / f"trading-{today - timedelta(days=20)}.2.jsonl").write_text("{}\n", encoding="utf-8")
    (folder / "exchange-demo-us.log").write_text("x", encoding="utf-8")

    logs.configure(folder, console=False, keep_days={"trading": 10, "trades": 100})
    logs.get_trade_log().error("주문 거부")
    logs.configure(None)

    def kept(name):
        return sorted(path.name for path in folder.glob(f"{name}-*"))

    assert kept("trading") == [f"trading-{today - timedelta(days=5)}.jsonl"]
    assert len(kept("trades")) == 2
    assert len(kept("errors")) == 3
    assert kept("exchange") == ["exchange-demo-us.log"]


def test_secrets_are_masked_in_stacks_and_addresses(folder):
    """In the text of an error, in its stack, percent-encoded, and as a part of a longer one."""
    logs.register_secret("p@ss/word+1")
    logs.register_secret("p@ss")
    log = logs.get_logger("a")
    try:
        raise ValueError("https://host/?key=p%40ss%2Fword%2B1 with p@ss/word+1")
    except ValueError as error:
        log.error("조회 실패", reason=f"{error}", exc_info=error)

    text = (folder / "errors.jsonl").read_text("utf-8")
    (line,) = lines(folder / "errors.jsonl")
    for part in ("p@ss", "p%40ss", "word+1", "word%2B1"):
        assert part not in text
    assert "ValueError: https://host/?key=*** with ***" in line["stack"]
    assert line["error"] == "ValueError: https://host/?key=*** with ***"


def test_listeners_hear_errors_that_nobody_tells_of(folder):
    """Masked, from ``error`` on, until they stop; a line that is told elsewhere is left out."""
    heard = []
    logs.register_secret("open-sesame")
    stop = logs.on_error(heard.append)
    log = logs.get_logger("a")
    log.warning("주의")
    log.error("오류", key="open-sesame")
    log.critical("위험")
    log.error("따로 알림", told=True)
    stop()
    log.error("그친 뒤")

    assert [(x["event"], x["level"]) for x in heard] == [("오류", "error"), ("위험", "critical")]
    assert heard[0]["key"] == "***"
    assert [x["event"] for x in lines(folder / "errors.jsonl")] == [
        "오류",
        "위험",
        "따로 알림",
        "그친 뒤",
    ]
    assert all("told" not in x for x in lines(folder / "errors.jsonl"))


def test_what_ends_a_thread_is_in_the_log(folder):
    """With its stack, and masked: Python would show it on stderr alone."""
    logs.register_secret("thread-secret")

    def fail():
        raise ValueError("thread-secret")

    thread = threading.Thread(target=fail, name="일꾼")
    thread.start()
    thread.join()

    (line,) = lines(folder / "errors.jsonl")
    assert (line["event"], line["thread"]) == ("스레드가 오류로 끝남", "일꾼")
    assert line["error"] == "ValueError: ***"
    assert "in fail" in line["stack"]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path):
    """On a full disk the line is shown instead, and whoever logs goes on."""
    script = (
        "import pathlib, resource, signal, trading.log as l\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        f"l.configure(pathlib.Path({str(tmp_path)!r}), console=False)\n"
        "for n in range(5): l.get_logger('a').info('주문 접수', number=n)\n"
        "print('끝까지 옴')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True
    )

    assert done.stdout == "끝까지 옴\n"
    assert "정보 주문 접수  number=4 unwritten=" in done.stderr
    whole = (tmp_path / "trading.jsonl").read_text("utf-8").count("\n")
    assert whole + done.stderr.count("unwritten") == 5


def test_a_task_that_nobody_asks_about_is_in_the_log(folder):
    """What asyncio would say on stderr alone, with the stack of the task that failed."""

    async def fail():
        raise ValueError("아무도 묻지 않음")

    async def main():
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(main())

    (line,) = lines(folder / "errors.jsonl")
    assert line["event"] == "비동기 작업의 문제"
    assert line["error"] == "ValueError: 아무도 묻지 않음"
    assert "in fail" in line["stack"]
