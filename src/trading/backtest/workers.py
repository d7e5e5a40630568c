"""The same work in this process, in several, or on a Dask cluster: the same results in one order.

What all tasks share (recorded history, mostly) travels once to each worker, not with each task.
"""

import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Protocol, TypeVar

from trading import __version__
from trading.errors import TradingError, UsageError

_DASK = "dask://"
# To learn whether anybody listens, and for a busy scheduler's first word.
_REACH_SECONDS, _GREET_SECONDS = 5, 60

A = TypeVar("A")
B = TypeVar("B")
# Takes what all share, and one item.
Task = Callable[[Any, A], B]


class Workers(Protocol):
    """Who does the work."""

    def map(self, task: Task[A, B], items: Sequence[A]) -> Iterator[B]:
        """Yield ``task(shared, item)`` in the order of ``items``."""


@contextmanager
def open_workers(named: str | None, shared: Any) -> Iterator[Workers]:
    """Yield workers that know ``shared``: ``None`` or 1 this process, N processes, or a cluster.

    Raises
    ------
    UsageError
        If ``named`` is neither a number nor ``dask://host:port``, or nobody answers there.
    TradingError
        From ``map``, if a worker died.
    """
    if named is not None and named.startswith(_DASK):
        with _cluster(named.removeprefix(_DASK), shared) as cluster:
            yield cluster
        return
    count = _count(named)
    if count == 1:
        yield _Here(shared)
        return
    # Started afresh: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(
        count,
        mp_context=get_context("spawn"),
        initializer=_receive,
        initargs=(pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL),),
    )
    try:
        yield _Processes(pool, count, shared)
    finally:
        pool.shutdown(cancel_futures=True)


def _count(named: str | None) -> int:
    if named is None:
        return 1
    if not named.isdecimal() or int(named) < 1:
        raise UsageError(f"--workers는 1 이상의 수나 dask://주소:포트로 주십시오: {named}")
    return int(named)


class _Here:
    """This process."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def map(self, task: Task[A, B], items: Sequence[A]) -> Iterator[B]:
        for item in items:
            yield task(self._shared, item)


class _Processes:
    """Processes of this machine."""

    def __init__(self, pool: ProcessPoolExecutor, count: int, shared: Any) -> None:
        self._pool = pool
        self._count = count
        self._shared = shared
        self._is_warm = False

    def map(self, task: Task[A, B], items: Sequence[A]) -> Iterator[B]:
        if items and not self._is_warm:
            # One is done here first: what it compiles is on disk when the others look for it.
            for item in items[:1]:
                yield task(self._shared, item)
            items = items[1:]
            self._is_warm = True
        chunk = max(1, len(items) // (self._count * 8))
        try:
            yield from self._pool.map(_Bound(task), items, chunksize=chunk)
        except BrokenProcessPool as error:
            raise _died() from error


class _Bound:
    """A task that finds in its own process what is shared."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self._task = task

    def __call__(self, item: Any) -> Any:
        return self._task(_received[0], item)


_received: list[Any] = []


def _receive(shared: bytes) -> None:
    # Ctrl+C is the parent's to answer; and nobody goes on working for one that is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _received[:] = [pickle.loads(shared)]  # noqa: S301 (our own bytes, from the process that started this one)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Cluster:
    """Workers of a Dask scheduler."""

    def __init__(self, client: Any, shared: Any) -> None:
        self._client = client
        self._shared = shared

    def map(self, task: Task[A, B], items: Sequence[A]) -> Iterator[B]:
        from distributed import KilledWorker

        futures = self._client.map(
            _call, list(items), task=task, shared=self._shared, pure=False, batch_size=256
        )
        try:
            for future in futures:
                yield future.result()
        except (KilledWorker, CancelledError, OSError, TimeoutError) as error:
            raise _died() from error
        finally:
            for future in futures:
                future.release()


@contextmanager
def _cluster(address: str, shared: Any) -> Iterator[_Cluster]:
    import logging

    try:
        from distributed import Client

        connect: Any = Client  # it carries no types
    except ImportError as error:
        raise UsageError("Dask가 설치되어 있지 않습니다: pip install 'ai-trading[dask]'") from error
    # It tells of lost connections in English; the one that matters is told below.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        # The client would go on trying where nobody listens until its time is over.
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
        client = connect(f"tcp://{address}", timeout=_GREET_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"Dask 스케줄러에 연결하지 못했습니다: {_DASK}{address} — 주소와 포트를 확인하고, 그곳에서 "
            "dask scheduler와 dask worker를 먼저 켜 주십시오."
        ) from error
    try:
        _check(client)
        yield _Cluster(client, client.scatter(shared, broadcast=True, hash=False))
    finally:
        client.close()


def _check(client: Any) -> None:
    """Refuse a cluster without workers, or whose workers have another program."""
    if not client.scheduler_info()["workers"]:
        raise UsageError("Dask 스케줄러에 일꾼이 없습니다. dask worker를 먼저 켜 주십시오.")
    try:
        found = set(client.run(_program).values())
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Dask 일꾼에 이 프로그램({__version__})이 설치되어 있지 않습니다."
        ) from error
    if found != {_program()}:
        raise UsageError(
            "Dask 일꾼의 프로그램이 이 컴퓨터의 것과 달라 결과가 다를 수 있습니다. 같은 판으로 설치해 "
            "주십시오."
        )


def _program() -> tuple[str, str]:
    """Return the version and the fingerprint of the compiled sources (``trading/__init__``)."""
    return __version__, Path(os.environ["NUMBA_CACHE_DIR"]).name


# The threads of one Dask worker share its copy of the history, which is evaluated by one at a time.
_turn = threading.Lock()


def _call(item: Any, task: Task[Any, Any], shared: Any) -> Any:
    with _turn:
        return task(shared, item)


def _died() -> TradingError:
    return TradingError(
        "일하던 프로세스가 죽었습니다(메모리가 모자랐을 수 있습니다). 그때까지 끝난 것은 시도 장부에 남아 "
        "있습니다. 더 적은 --workers로 같은 명령을 다시 해 주십시오."
    )
