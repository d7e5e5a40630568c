"""Writes a batch into lakes and dies at a chosen step of each: ``test_lake_faults`` runs it.

Arguments: the batch as a Parquet file, "torn" or "killed", and the lakes. The first lake's write
goes through and its file operations are printed; the one of lake number n dies before the n-th,
where "torn" leaves half of the file that is being written.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Loaded before the forks: what a write needs.
import filelock  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow.compute as pc  # noqa: F401
import pyarrow.parquet as pq

from trading.domain.instrument import Market
from trading.store.lake import Lake


def watch(root: Path, step: Callable[[str, int | None], None]) -> None:
    """Call ``step`` before each operation that changes a file of the lake."""
    fsync = os.fsync

    def watched_fsync(handle: int) -> None:
        is_file = Path(f"/proc/self/fd/{handle}").is_file()
        step("fsync", handle if is_file else None)
        fsync(handle)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        if str(arguments[0]).startswith(str(root)) and (event != "open" or arguments[1] == "w"):
            step(event.removeprefix("os."), None)

    os.fsync = watched_fsync
    sys.addaudithook(hook)


def write(batch: Path, root: Path, last: int, torn: bool) -> None:
    """Write the batch; die before step ``last``, or print the steps when it is 0."""
    steps: list[str] = []

    def step(name: str, handle: int | None) -> None:
        steps.append(name)
        if len(steps) == last:
            if torn and handle is not None:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    table = pq.ParquetFile(batch).read(use_threads=False)
    watch(root, step)
    Lake(root).upsert(Market.US, "daily", table)
    if last == 0:
        sys.stdout.write(" ".join(steps))
        sys.stdout.flush()


def main() -> None:
    batch, how, *roots = sys.argv[1:]
    for number, root in enumerate(roots):
        # One process each, without loading the libraries again.
        child = os.fork()
        if child == 0:
            write(Path(batch), Path(root), number, how == "torn")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        expected = 0 if number == 0 else -signal.SIGKILL
        if os.waitstatus_to_exitcode(status) != expected:
            sys.exit(f"{root}: {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
