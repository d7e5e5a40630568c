"""How far a long work has come: a bar on a terminal, lines or nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trading.clock import monotonic_seconds

# How often the progress is told where no bar can be drawn.
_LINE_SECONDS = 5.0
_shown: list[str] = []


@contextmanager
def progress_bar(
    title: str, *, has_lines: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on a terminal's standard error; elsewhere plain lines, or nothing.

    One that begins while another is shown is not: two would overwrite each other.
    """
    if not sys.stderr.isatty():
        yield _lines(title) if has_lines else None
        return
    if _shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        _shown.append(title)
        try:
            yield show
        finally:
            _shown.pop()


def _lines(title: str) -> Callable[[int, int], None]:
    """Return what tells the progress in lines, one every few seconds."""
    begun = told = monotonic_seconds()

    def show(done: int, total: int) -> None:
        nonlocal told
        now = monotonic_seconds()
        if now - told < _LINE_SECONDS:
            return
        told = now
        left = (now - begun) / done * (total - done)
        print(  # noqa: T201
            f"{title}: {done:,}/{total:,} ({done / total:.0%}), 남은 시간 약 {_span(left)}",
            file=sys.stderr,
            flush=True,
        )

    return show


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f}초"
    return f"{minutes}분" if minutes < 120 else f"{minutes / 60:.1f}시간"
