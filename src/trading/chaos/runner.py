"""Seeds played: two forked processes each, killed and started again until the plan is done.

One warm process has everything loaded; workers are forked from it, and every client and exchange
from a worker, so that a process starts in milliseconds. None of the forking processes has a
thread or an event loop.
"""

import contextlib
import hashlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trading import log as logs
from trading.bootstrap import Installation
from trading.chaos import trader, venue, world
from trading.chaos.audit import compare
from trading.chaos.plan import Plan, draw
from trading.chaos.plants import Plant
from trading.chaos.points import Arena, Party, Point
from trading.chaos.world import World
from trading.clock import monotonic_seconds
from trading.domain.instrument import Market
from trading.errors import SessionBusyError
from trading.exchange.faults import KINDS, NUMBERS
from trading.exchange.server import JOURNAL_FILE
from trading.log import get_logger

log = get_logger(__name__)

# A seed that takes longer than this has stopped for good.
SEED_SECONDS = 90.0
# Deaths of a plan are few; a client that must be started more often than this goes in circles.
MOST_STARTS = 60
# Below this many seeds a boundary may by chance not have been met.
COUNTED_SEEDS = 200
LEAST_ORDERS_PER_SEED = 5
_REST_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one seed ended. ``findings`` is empty when both books tell the same story."""

    seed: int
    orders: int = 0
    fills: int = 0
    starts: int = 0
    kills: int = 0
    freezes: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    money_difference: int = 0
    cost_differences: int = 0
    findings: Sequence[str] = field(default_factory=tuple)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def run(
    installation: Installation,
    *,
    seeds: Sequence[int],
    dataset: Path | None,
    plant: Plant | None,
    jobs: int,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Play the seeds that were not played yet and return the figures of all of them."""
    began = monotonic_seconds()
    folder = installation.home.data_dir / "chaos"
    folder.mkdir(parents=True, exist_ok=True)
    kept = _Results(folder / f"{_fingerprint(dataset, plant)}.jsonl", fresh=fresh)
    left = [seed for seed in seeds if seed not in kept.done]
    if left:
        worlds = world.load_all(installation, dataset)
        with _alone(folder), _workers(worlds, left, folder / "work", plant, jobs) as lines:
            for line in lines:
                kept.add(line)
                if progress is not None:
                    progress(len(seeds) - len(left) + kept.added, len(seeds))
    died = ("시험을 돌리던 프로세스가 죽음",)
    results = [kept.done.get(seed) or Result(seed=seed, findings=died) for seed in seeds]
    return summarize(results, monotonic_seconds() - began, world.markets(dataset))


def play_one(
    installation: Installation, seed: int, *, dataset: Path | None, plant: Plant | None
) -> dict[str, Any]:
    """Play one seed again and keep its folder: ledger, journal and the logs of all processes."""
    began = monotonic_seconds()
    worlds = world.load_all(installation, dataset)
    folder = installation.home.data_dir / "chaos" / "seed" / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    result = play(worlds, seed, folder, plant, level="debug")
    figures = summarize([result], monotonic_seconds() - began, world.markets(dataset))
    return {**figures, "folder": str(folder)}


def summarize(
    results: Sequence[Result], seconds: float, markets: Collection[Market]
) -> dict[str, Any]:
    """Return the figures of a run in ``markets``; see DESIGN §5 for the names."""
    points: Counter[str] = Counter()
    variants: Counter[str] = Counter()
    for result in results:
        for name, count in result.faults.items():
            (variants if "/" in name else points)[name] += count
    numbers = Counter(dict.fromkeys(map(str, NUMBERS), 0))
    for name, count in variants.items():
        numbers[name.partition("/")[0]] += count
    possible = {str(kind.number) for kind in KINDS.values() if kind.market in (None, *markets)}
    faults = {number: numbers[number] for number in numbers if number in possible} | {
        str(point): points[point] for point in Point
    }
    orders = sum(result.orders for result in results)
    missing = [name for name, count in faults.items() if not count]
    is_counted = len(results) >= COUNTED_SEEDS
    too_few = is_counted and orders < LEAST_ORDERS_PER_SEED * len(results)
    return {
        "seeds": len(results),
        "orders": orders,
        "fills": sum(result.fills for result in results),
        "kills": sum(result.kills for result in results),
        "freezes": sum(result.freezes for result in results),
        "starts": sum(result.starts for result in results),
        "faults": faults,
        "variants": dict(
            sorted(variants.items(), key=lambda one: (int(one[0].split("/")[0]), one))
        ),
        "not_applicable": [number for number in numbers if number not in possible],
        "lost": sum(result.lost for result in results),
        "doubled": sum(result.doubled for result in results),
        "money_difference": sum(result.money_difference for result in results),
        "cost_differences": sum(result.cost_differences for result in results),
        "seconds": round(seconds, 1),
        "seconds_a_seed": _spread([result.seconds for result in results]),
        "cpu_seconds_a_seed": _spread([result.cpu_seconds for result in results]),
        "never_met": missing if is_counted else [],
        "too_few_orders": too_few,
        "failures": [
            {"seed": result.seed, "findings": list(result.findings)}
            for result in results
            if result.findings
        ],
    }


def is_clean(figures: Mapping[str, Any]) -> bool:
    """Whether nothing was lost, doubled or off by a unit, and everything was really met."""
    return not (
        figures["lost"]
        or figures["doubled"]
        or figures["money_difference"]
        or figures["failures"]
        or figures["never_met"]
        or figures["too_few_orders"]
    )


def text(figures: Mapping[str, Any]) -> str:
    """Return the figures as a user reads them."""
    lines = [
        f"시드 {figures['seeds']:,}개, 주문 {figures['orders']:,}건, 체결 {figures['fills']:,}건, "
        f"강제 종료 {figures['kills']:,}회, 얼림 {figures['freezes']:,}회, {figures['seconds']:,}초",
        f"  잃은 주문 {figures['lost']:,}건, 두 번 낸 주문 {figures['doubled']:,}건, "
        f"돈의 차이 {figures['money_difference']:,}",
    ]
    lines += [
        f"  시드 {failure['seed']}: {'; '.join(failure['findings'])}"
        for failure in figures["failures"]
    ]
    if "folder" in figures:
        lines.append(f"  장부와 로그: {figures['folder']}")
    if figures["never_met"]:
        lines.append(f"  한 번도 일어나지 않은 장애와 경계: {', '.join(figures['never_met'])}")
    if figures["too_few_orders"]:
        lines.append(f"  시드마다 주문이 {LEAST_ORDERS_PER_SEED}건보다 적음")
    return "\n".join(lines)


def play(
    worlds: Sequence[World],
    seed: int,
    folder: Path,
    plant: Plant | None,
    *,
    level: str = "error",
) -> Result:
    """Play one seed in ``folder`` with processes of its own, then compare the books."""
    began, worked = monotonic_seconds(), _cpu_seconds()
    folder.mkdir(parents=True)
    plan = draw(worlds, seed)
    arena = Arena(plan.kills)
    match = _Match(plan, folder, arena, plant, level)
    findings = match.play()
    broken = folder / venue.FAILURE_FILE
    if broken.exists():
        findings.append("거래소 오류: " + _last_lines(broken))
    verdict = compare(
        folder / trader.LEDGER_FILE,
        folder / JOURNAL_FILE,
        account=trader.ACCOUNT,
        starting_cash=plan.cash,
    )
    killed = arena.killed()
    arena.close()
    return Result(
        seed=seed,
        orders=verdict.orders,
        fills=verdict.fills,
        starts=match.starts,
        kills=match.deaths,
        freezes=match.freezes,
        faults=verdict.faults | {str(p): count for p, count in killed.items() if count},
        lost=verdict.lost,
        doubled=verdict.doubled,
        money_difference=verdict.money_difference,
        cost_differences=verdict.cost_differences,
        findings=(*findings, *verdict.findings),
        seconds=round(monotonic_seconds() - began, 3),
        cpu_seconds=round(_cpu_seconds() - worked, 3),
    )


class _Match:
    """One seed's client and exchange, kept alive until the plan is done."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        arena: Arena,
        plant: Plant | None,
        level: str,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._arena = arena
        self._plant = plant
        self._level = level
        self._port = _free_port()
        self._life = os.pipe()
        self._dead: dict[int, Party] = {}
        self._mishaps = list(plan.mishaps)
        self._frozen: dict[int, float] = {}
        self._began = monotonic_seconds()
        self.starts = 0
        self.deaths = 0
        self.freezes = 0

    def play(self) -> list[str]:
        """Run to the end; return what went wrong on the way, as Korean sentences."""
        self._start(Party.EXCHANGE)
        self._start(Party.CLIENT)
        try:
            while True:
                ended = self._ended()
                if ended is None:
                    return ["끝나지 않음: " + self._failure()]
                party, code = ended
                if party is Party.CLIENT and code == trader.DONE:
                    return []
                if party is Party.CLIENT and code == trader.BROKEN:
                    return ["클라이언트 오류: " + self._failure()]
                if party is Party.EXCHANGE and code != -signal.SIGKILL:
                    return [f"거래소가 스스로 끝남 ({code}): " + self._failure()]
                self.deaths += code == -signal.SIGKILL
                if self.starts > MOST_STARTS:
                    return ["같은 자리를 맴돎: " + self._failure()]
                self._start(party)
        finally:
            self._end()

    def _failure(self) -> str:
        return _last_lines(self._folder / trader.FAILURE_FILE)

    def _start(self, party: Party) -> None:
        self.starts += 1
        dead, alive = os.pipe()
        pid = os.fork()
        if pid:
            os.close(alive)
            self._dead[dead] = party
            self._arena.set_pid(party, pid)
            return
        _end_with_parent(*self._life)
        code = trader.BROKEN
        try:
            code = self._be(party)
        except BaseException:
            trader.tell(self._folder, traceback.format_exc())
        finally:
            # Without the farewells of the process it was forked from.
            os._exit(code)

    def _be(self, party: Party) -> int:
        logs.configure(self._folder / f"{party}-logs", level=self._level, console=False)
        # What libraries say beside the log belongs to the seed, not to the terminal.
        os.dup2(os.open(self._folder / f"{party}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        if party is Party.EXCHANGE:
            venue.serve(self._plan, self._folder, self._arena, self._port)
            return 0
        return trader.trade(self._plan, self._folder, self._arena, self._plant)

    def _ended(self) -> tuple[Party, int] | None:
        """Wait for a process to end, bringing the mishaps about; ``None`` on time-out."""
        while (elapsed := monotonic_seconds() - self._began) < SEED_SECONDS:
            self._befall(elapsed)
            # The other end of each pipe is held by a process for as long as it lives.
            for dead in select.select(list(self._dead), [], [], _REST_SECONDS)[0]:
                return self._buried(dead)
        return None

    def _buried(self, dead: int) -> tuple[Party, int]:
        os.close(dead)
        party = self._dead.pop(dead)
        pid = self._arena.pid(party)
        # Before it is buried: afterwards its number may be a stranger's.
        self._arena.set_pid(party, 0)
        self._frozen.pop(pid, None)
        _, status = os.waitpid(pid, 0)
        return party, os.waitstatus_to_exitcode(status)

    def _befall(self, elapsed: float) -> None:
        for pid, until in list(self._frozen.items()):
            if elapsed >= until:
                del self._frozen[pid]
                os.kill(pid, signal.SIGCONT)
        if self._mishaps and elapsed >= self._mishaps[0].after_seconds:
            mishap = self._mishaps.pop(0)
            pid = self._arena.pid(mishap.party)
            if mishap.frozen_seconds is None:
                os.kill(pid, signal.SIGKILL)
            else:
                self.freezes += 1
                self._frozen[pid] = elapsed + mishap.frozen_seconds
                os.kill(pid, signal.SIGSTOP)

    def _end(self) -> None:
        for dead, party in list(self._dead.items()):
            os.kill(self._arena.pid(party), signal.SIGKILL)
            self._buried(dead)
        for end in self._life:
            os.close(end)


class _Results:
    """The results of finished seeds in a file: the same command again goes on after the last."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self.done: dict[int, Result] = {}
        self.added = 0
        if fresh:
            path.unlink(missing_ok=True)
        if not path.exists():
            return
        text = path.read_text("utf-8")
        for line in text.splitlines():
            # A run that was killed may have left half a line.
            with contextlib.suppress(ValueError, TypeError):
                self._keep(Result(**json.loads(line)))
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def add(self, line: str) -> None:
        """Keep one more result, in memory and in the file."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._keep(Result(**json.loads(line)))
        self.added += 1

    def _keep(self, result: Result) -> None:
        self.done[result.seed] = result


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run out of the same folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "run.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SessionBusyError(f"다른 혼돈 시험이 도는 중입니다: {folder}") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _workers(
    worlds: Sequence[World], seeds: Sequence[int], folder: Path, plant: Plant | None, jobs: int
) -> Iterator[Iterator[str]]:
    """Fork workers that share the seeds; yields their results, one line of JSON each."""
    shutil.rmtree(folder, ignore_errors=True)
    pids: list[int] = []
    pipes: list[int] = []
    try:
        for number in range(jobs):
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                for pipe in (reading, *pipes):
                    os.close(pipe)
                _work(worlds, seeds[number::jobs], folder, plant, writing)
            os.close(writing)
            pids.append(pid)
            pipes.append(reading)
        yield _lines(pipes)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        for pipe in pipes:
            with contextlib.suppress(OSError):
                os.close(pipe)


def _work(
    worlds: Sequence[World], seeds: Sequence[int], folder: Path, plant: Plant | None, writing: int
) -> None:
    """Play ``seeds`` one after the other in this forked process, which ends here."""
    code = 1
    try:
        # Asked to end, the worker takes its client and exchange with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for seed in seeds:
            place = folder / str(seed)
            try:
                result = play(worlds, seed, place, plant)
            except Exception:
                result = Result(seed=seed, findings=(f"시험 자체의 오류: {_end_of_stack()}",))
            if not result.findings:
                shutil.rmtree(place)
            line = json.dumps(asdict(result), ensure_ascii=False)
            os.write(writing, line.encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _lines(pipes: Sequence[int]) -> Iterator[str]:
    open_pipes = list(pipes)
    rest: dict[int, bytes] = dict.fromkeys(pipes, b"")
    while open_pipes:
        for pipe in select.select(open_pipes, [], [])[0]:
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                open_pipes.remove(pipe)
            *lines, rest[pipe] = (rest[pipe] + chunk).split(b"\n")
            yield from (line.decode() for line in lines)


def _end_with_parent(reading: int, writing: int) -> None:
    """End this process when its parent is gone, however it went."""
    os.close(writing)

    def wait() -> None:
        os.read(reading, 1)
        os._exit(trader.BROKEN)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those it has buried."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _last_lines(path: Path) -> str:
    """Return the end of a stack that a process left: where it broke, and why."""
    return _end_of_stack(path.read_text("utf-8")) if path.exists() else ""


def _end_of_stack(text: str | None = None) -> str:
    lines = (text if text is not None else traceback.format_exc()).splitlines()
    return " / ".join(line.strip() for line in lines[-5:] if line.strip(" ^~"))


def _free_port() -> int:
    """Return a port that nobody uses: the exchange keeps its address over its deaths, as KIS does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fingerprint(dataset: Path | None, plant: Plant | None) -> str:
    """Return a name that changes with the program, its configuration, and what was asked for."""
    import trading

    root = Path(trading.__file__).parent
    digest = hashlib.sha256(f"{dataset} {plant} {sys.version}".encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{plant or 'as-built'}-{digest.hexdigest()[:16]}"


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        "mean": round(sum(ordered) / len(ordered), 2),
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[int(len(ordered) * 0.99)],
        "max": ordered[-1],
    }
