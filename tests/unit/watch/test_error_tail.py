from trading import log
from trading.log import get_logger
from trading.watch.probe import ErrorTail


def test_only_what_came_since(tmp_path):
    """Errors that were there before are not news; later ones are, each once, with their reason."""
    log.configure(tmp_path, console=False)
    get_logger("trading.live.session").error("주문 결과 불명", reason="응답 없음")
    tail = ErrorTail(tmp_path)

    get_logger("trading.live.session").error("받아들일 수 없는 통보", reason="순서")
    get_logger("trading.live.session").warning("시세 지연")
    first, again = tail.news(), tail.news()
    log.configure(None)

    assert [(one.event, one.detail) for one in first] == [("받아들일 수 없는 통보", "순서")]
    assert again == ()


def test_over_the_turn_of_the_day(tmp_path):
    """The rest of yesterday's file and today's are both read, also where none was at first."""
    path = tmp_path / "errors.jsonl"
    tail = ErrorTail(tmp_path)
    line = '{"ts": "2012-06-01T15:00:00", "logger": "trading.day", "event": "%s"}\n'

    path.write_text(line % "하나")
    one = tail.news()
    with path.open("a") as file:
        file.write(line % "둘")
    path.rename(tmp_path / "errors-2012-06-01.jsonl")
    path.write_text(line % "셋")
    rest = tail.news()

    assert [error.event for error in one] == ["하나"]
    assert [error.event for error in rest] == ["둘", "셋"]


def test_a_line_that_is_being_written_waits(tmp_path):
    """Half a line is no error yet; a line that is no JSON, and the monitor's own, are none at all."""
    path = tmp_path / "errors.jsonl"
    path.write_text("")
    tail = ErrorTail(tmp_path)

    with path.open("a") as file:
        file.write('{"logger": "trading.day", "event": "끊')
    half = tail.news()
    with path.open("a") as file:
        file.write('김"}\nnot json\n{"logger": "trading.watch.contract", "event": "예정된 일"}\n')
    whole = tail.news()

    assert half == ()
    assert [error.event for error in whole] == ["끊김"]
