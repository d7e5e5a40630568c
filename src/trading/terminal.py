"""What every command shares: Typer in Korean, common options, tables.

Typer has no translations of its own. What the commands are is in ``cli`` and ``cli_research``.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from trading.domain.instrument import Market
    from trading.research.history import Scope

EXIT_FINDING, EXIT_USAGE, EXIT_FAILURE = 1, 2, 3
# Typer's own code for a command that was stopped by Ctrl+C.
EXIT_INTERRUPTED = 130

F = TypeVar("F", bound=Callable[..., Any])

_HELP = (
    ("Usage: ", "사용법: "),
    ("[OPTIONS]", "[옵션]"),
    ("COMMAND [ARGS]...", "명령 [인자]..."),
    ("Options:\n", "옵션:\n"),
    ("Arguments:\n", "인자:\n"),
    ("Commands:\n", "명령:\n"),
    ("Show this message and exit.", "이 도움말을 보여 줍니다."),
    ("[default:", "[기본:"),
    ("[required]", "[꼭 필요]"),
    # As wide on a terminal as what they stand for: the columns stay in line.
    ("<path>", "<경로>"),
    ("<str>", "<글> "),
    ("<float>", "<숫자> "),
    ("<int range>", "<정수>     "),
    ("<int>", "<수> "),
)

# What Typer says of a command line that it does not understand, and how we say it. The last one
# fits anything, so that no English sentence comes out.
_USAGE = tuple(
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in (
        (r"No such option: (\S+).*options?: (.+?)\)?$", "없는 옵션입니다: {0} — {1} 을(를) 뜻했나요?"),
        (r"No such option: (\S+)", "없는 옵션입니다: {0}"),
        (r"No such command '(.+)'\.", "없는 명령입니다: {0}"),
        (r"Missing command", "명령을 하나 골라 주세요."),
        (r"Missing \w+ '?([^']+?)'?\. Choose from:?\s*(.+)$", "빠진 값이 있습니다: {0} ({1} 가운데 하나)"),
        (r"Missing \w+ '?([^']+?)'?\.", "빠진 값이 있습니다: {0}"),
        (r"Option '?([^']+)'? requires an argument", "값이 빠졌습니다: {0} 다음에 값을 적어 주세요."),
        (r"Got unexpected extra argument.* \((.+)\)", "남는 말이 있습니다: {0}"),
        (r"Invalid value for '?([^':]+)'?: .*'(.+?)' is not one of (.+)$",
         "{0}에 쓸 수 없는 값입니다: {1} (쓸 수 있는 값: {2})"),
        (r"Invalid value for '?([^':]+)'?: .*greater than or equal to (\S+)", "{0}은(는) {1} 이상이어야 합니다."),
        (r"Invalid value for '?([^':]+)'?: .*less than or equal to (\S+)", "{0}은(는) {1} 이하여야 합니다."),
        (r"Invalid value for '?([^':]+)'?: .*valid integer", "{0}에는 정수를 적어 주세요."),
        (r"Invalid value for '?([^':]+)'?: .*valid number", "{0}에는 숫자를 적어 주세요."),
        (r"Invalid value for '?([^':]+)'?: (.*[가-힣].*)$", "{0}: {1}"),
        (r"Invalid value for '?([^':]+)'?", "{0}에 쓸 수 없는 값입니다."),
        (r"", "명령을 알아듣지 못했습니다."),
    )
)  # fmt: skip


class _Command(TyperCommand):
    """A command whose help is Korean."""

    def get_help(self, ctx: Any) -> str:
        return _in_korean(super().get_help(ctx))


class _Group(TyperGroup):
    """A group of commands whose help is Korean."""

    def get_help(self, ctx: Any) -> str:
        return _in_korean(super().get_help(ctx))


class KoreanTyper(typer.Typer):
    """A Typer whose help and usage errors are Korean; ``execute`` runs it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=_Group,
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Register a command; see ``typer.Typer.command``."""
        return super().command(name, cls=_Command, **settings)

    def execute(self, program: str) -> int:
        """Run the command line and return its exit code; errors of ours pass through."""
        try:
            code = self(prog_name=program, standalone_mode=False)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else program
            sentence = usage_sentence(error.format_message())
            print(f"{sentence} (도움말: {path} --help)", file=sys.stderr)  # noqa: T201
            return EXIT_USAGE
        except typer.Abort:
            return EXIT_INTERRUPTED
        return code if isinstance(code, int) else 0


def usage_sentence(message: str) -> str:
    """Return the Korean sentence for what Typer says of a wrong command line."""
    for pattern, sentence in _USAGE:
        found = pattern.search(message)
        if found is not None:
            parts = (re.sub(r"\s+", " ", part.replace("'", "")) for part in found.groups())
            return sentence.format(*(part.strip(" .") for part in parts))
    return message


def _in_korean(text: str) -> str:
    for english, korean in _HELP:
        text = text.replace(english, korean)
    return text


class MarketName(StrEnum):
    """A market as the user types it."""

    KRX = "krx"
    US = "us"


class State:
    """What was chosen before the command: the project home."""

    root: Path | None = None


JsonOption = Annotated[bool, typer.Option("--json", help="결과를 JSON 하나로 출력합니다.")]
MarketOption = Annotated[
    MarketName | None, typer.Option("--market", help="시장: us 또는 krx (기본: 설정 파일).")
]
DatasetOption = Annotated[
    Path | None, typer.Option("--dataset", help="기록 자료의 폴더나 파일 (기본: 내장 기록).")
]
SymbolsOption = Annotated[str | None, typer.Option("--symbols", help="쉼표로 나눈 종목.")]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"날짜는 YYYY-MM-DD로 적어 주세요: {text}") from None


def date_option(name: str, text: str) -> Any:
    """Return an option that takes a date."""
    return typer.Option(name, parser=_day, metavar="YYYY-MM-DD", help=text)


FirstOption = Annotated[date | None, date_option("--from", "첫 거래일.")]
LastOption = Annotated[date | None, date_option("--to", "마지막 거래일.")]


def listed(text: str | None) -> list[str] | None:
    """Return what is separated by commas; ``None`` when nothing was given."""
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def market_of(market: MarketName | None) -> "Market | None":
    """Return the market that was typed."""
    from trading.domain.instrument import Market

    return Market(market) if market is not None else None


def scope(
    market: MarketName | None,
    symbols: str | None,
    first: date | None,
    last: date | None,
    dataset: Path | None,
) -> "Scope":
    """Return which recorded history was asked for."""
    from trading.research.history import Scope

    return Scope(
        market=market_of(market),
        symbols=listed(symbols),
        first=first,
        last=last,
        dataset=dataset,
    )


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return lines in columns, numbers to the right; a Korean letter is two wide."""
    lines = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            " " * (width - _width(cell)) + cell
            if re.fullmatch(r"[-+<]?[\d,.]+( ± [\d,.]+)?( %)?", cell)
            else cell + " " * (width - _width(cell))
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def print_json(body: Any) -> None:
    """Write one JSON object on standard output."""
    typer.echo(json.dumps(body, ensure_ascii=False, default=str))
