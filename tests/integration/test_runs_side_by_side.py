"""Runs as a user keeps and compares them: typed commands, files, exit codes."""

import json
from pathlib import Path

import pytest
from program import EAGER, Answer, configure, trading

SPAN = ("--symbols", "AAPL,IBM,MSFT", "--from", "2004-01-02", "--to", "2005-12-30")
pytestmark = pytest.mark.compiled_only


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, Answer, Answer]:
    """Return a home with two kept runs, and what the commands said."""
    home = configure(tmp_path_factory.mktemp("home"), EAGER)
    first = trading(home, "backtest", "ma_crossover", *SPAN, "--report", "--json", timeout=600)
    second = trading(home, "backtest", "momentum", *SPAN, "--report", "--lang", "en", timeout=600)
    return home, first, second


def test_a_run_is_kept_with_its_page(kept):
    """The JSON names both files, and the page tells what the JSON says, in the asked language."""
    home, first, second = kept
    body = first.json
    page = Path(body["report"]).read_text(encoding="utf-8")

    assert first.code == second.code == 0, second.err
    assert Path(body["run"]).is_relative_to(home)
    assert body["run_id"] in page
    assert f"{100 * body['metrics']['total_return']:+.2f}" in page
    told = next(line for line in second.out.splitlines() if "성적표" in line)
    assert '<html lang="en">' in Path(told.split(maxsplit=1)[1]).read_text(encoding="utf-8")


def test_kept_runs_are_compared(kept):
    """By the beginning of their ids: a table, a sentence, and the same as JSON with a page."""
    home, first, _ = kept

    told = trading(home, "compare", "ma_crossover", "momentum")
    body = trading(home, "compare", "ma_crossover", "momentum", "--report", "--json").json

    assert told.code == 0, told.err
    assert "총수익률" in told.out
    assert "한 해 평균" in told.out
    assert body["runs"][0]["run_id"] == first.json["run_id"]
    assert body["runs"][0]["metrics"]["sharpe"] == pytest.approx(first.json["metrics"]["sharpe"])
    assert body["is_cut"] is False
    assert body["differences"][0]["verdict"] in ("better", "same", "worse")
    assert Path(body["report"]).is_file()


def test_wrong_runs_are_one_sentence(kept):
    """Unknown, one alone, and damaged: a Korean sentence and the exit code of its kind."""
    home, first, _ = kept
    run = Path(first.json["run"])
    broken = home / "broken.json"
    body = json.loads(run.read_text(encoding="utf-8"))
    body["run"]["equity"][0] += 1
    broken.write_text(json.dumps(body), encoding="utf-8")

    for asked, code, words in (
        (("nothing", "momentum"), 2, "없는 실행입니다"),
        (("momentum",), 2, "둘 이상"),
        (("momentum", "momentum"), 2, "두 번"),
        (("momentum", str(broken)), 3, "손상"),
    ):
        answer = trading(home, "compare", *asked)
        assert answer.code == code, answer.err
        assert words in answer.err
        assert "Traceback" not in answer.err
