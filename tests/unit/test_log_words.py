"""Everything a user reads is Korean: log lines, errors, help, screens and messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading.domain.wording import CHANNEL_TEXT
from trading.notify import Event, render
from trading.notify.message import _FIELDS, TEST

CHECKOUT = Path(__file__).resolve().parents[2]
HANGUL = re.compile("[가-힣]")
LOGGERS = frozenset({"log", "trade_log"})
LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
# Calls whose ``help`` is shown by ``--help``.
HELPED = frozenset(
    {"Option", "Argument", "command", "add_typer", "KoreanTyper", "callback", "date_option"}
)
SCREEN = frozenset(
    {
        "title", "header", "subheader", "markdown", "write", "caption", "text", "info", "warning",
        "error", "success", "button", "metric", "checkbox", "selectbox", "radio", "text_input",
        "expander", "spinner", "toast", "page_link", "download_button",
    }
)  # fmt: skip
# A command that is to be typed.
COMMAND = re.compile(r"\s*trading ")


def sources() -> list[Path]:
    """Return every file of the program."""
    folders = (CHECKOUT / "src" / "trading", CHECKOUT / "flows", CHECKOUT / "tasks")
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def errors() -> frozenset[str]:
    """Return the names of the exception tree."""
    tree = ast.parse((CHECKOUT / "src/trading/errors.py").read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))


def literal(node: ast.expr) -> str:
    """Return the part of a text that stands in the source; "" when none does."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(literal, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return literal(left) + literal(right)
        case ast.IfExp(body=body, orelse=other):
            # Either may be what is shown; one without a Korean word must not hide.
            texts = [text for text in map(literal, (body, other)) if text]
            return min(texts, key=lambda text: bool(HANGUL.search(text)), default="")
        case _:
            return ""


def shown(tree: ast.AST, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield line and literal text of everything that a user gets to see."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id=base), attr=name):
                pass
            case ast.Attribute(attr=name):
                base = ""
            case ast.Name(id=name):
                base = ""
            case _:
                continue
        is_logged = base in LOGGERS and name in LEVELS
        is_on_screen = base == "st" and name in SCREEN
        is_printed = name in ("BadParameter", "echo", "print") or (base, name) == ("sys", "exit")
        texts: list[ast.expr] = []
        if is_logged or is_on_screen or is_printed or name in known:
            texts = node.args[:1]
        elif name in HELPED:
            texts = [word.value for word in node.keywords if word.arg == "help"]
        for text in map(literal, texts):
            yield node.lineno, text


def foreign(path: Path, known: frozenset[str]) -> list[str]:
    """Return where ``path`` shows letters without a Korean one."""
    tree = ast.parse(path.read_text("utf-8"))
    return [
        f"{path.name}:{line}: {text!r}"
        for line, text in shown(tree, known)
        if re.search("[A-Za-z]", text) and not HANGUL.search(text) and not COMMAND.match(text)
    ]


def test_everything_shown_is_korean():
    """Log events, messages of our errors, help, output and screens carry Korean words."""
    known = errors()

    assert [found for path in sources() for found in foreign(path, known)] == []


@pytest.mark.parametrize(
    "source",
    [
        'log.info("order sent", symbol=symbol)',
        'log.error(f"lost {symbol}")',
        'raise MissingDataError(f"need {n} bars, got {m}")',
        'typer.echo("done")',
        'typer.Option("--x", help="how many")',
        'st.button("Halt")',
        'log.warning("지연" if late else "early")',
    ],
)
def test_what_is_not_korean_is_found(tmp_path, source):
    """The check sees each kind of text that it is meant to see."""
    path = tmp_path / "planted.py"
    path.write_text(source, encoding="utf-8")

    assert len(foreign(path, errors())) == 1


def test_no_log_event_is_made_of_its_data():
    """The text of a log line is constant: data stands in fields, so that lines can be counted."""
    found = [
        f"{path.name}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in LOGGERS
        and node.func.attr in LEVELS
        and node.args
        and isinstance(node.args[0], ast.JoinedStr)
    ]

    assert found == []


@pytest.mark.parametrize("event", [*Event, TEST])
def test_every_message_has_a_korean_title(event):
    """Whatever the caller knows of it."""
    assert HANGUL.search(render(event, {}).subject)


def test_fields_of_errors_have_korean_names():
    """What an ERROR line of the log brings along has a Korean name when it is mailed."""
    names = {
        word.arg
        for path in sources()
        if "exchange" not in path.parts and "notify" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in LOGGERS
        and node.func.attr in ("error", "critical", "exception")
        for word in node.keywords
        if word.arg not in (None, "told", "exc_info")
    }
    unnamed = [name for name in sorted(names) if not HANGUL.search(_FIELDS.get(name, ("",))[0])]

    assert unnamed == [], "trading.notify.message._FIELDS 에 한국어 이름을 더하십시오"


def test_ways_out_have_korean_names():
    """Each channel is called by a Korean name."""
    assert all(HANGUL.search(text) for text in CHANNEL_TEXT.values())
