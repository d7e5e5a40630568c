"""Typer in Korean: the words of its help and the sentences of its usage errors.

What the commands are is in ``cli``; Typer has no translations of its own.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

EXIT_USAGE = 2
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
