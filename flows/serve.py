"""``make serve``: a Prefect server, what is deployed on it, and a worker, until it is stopped.

What the two processes say in English goes into ``logs/``; here are a few Korean sentences. On a
server that stays on, systemd keeps the processes instead (``deploy/systemd``) and calls
``python -m flows.serve --prepare``.
"""

import asyncio
import ipaddress
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from filelock import FileLock, Timeout

from trading.config import Home, resolve_root
from trading.errors import ConfigError, MissingDataError, UsageError

EXIT_USAGE, EXIT_FAILURE = 2, 3

_UP_SECONDS = 120.0
_STOP_SECONDS = 20.0
_WORKER_SECONDS = 10.0
_POLL_SECONDS = 0.5
_LOG_BYTES = 10_000_000


class ServeError(Exception):
    """The server or the worker does not run; the message says where to look."""


def main(
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="도는 서버에 작업 풀, 배포, 자동화만 마련하고 끝냅니다."),
    ] = False,
) -> None:
    """Prefect 서버와 작업자를 띄우고 배포합니다. Ctrl+C로 끝냅니다."""
    # Also where a shell in the background has told its children to ignore Ctrl+C.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.default_int_handler)
    try:
        home = resolve_root(None)
        if not Path("prefect.yaml").is_file():
            raise UsageError("prefect.yaml이 있는 폴더에서 실행해 주세요.")
        os.environ.setdefault("PREFECT_API_URL", _configured_url())
        os.environ.setdefault("DO_NOT_TRACK", "true")
        # prefect.yaml deploys this folder under its name in the environment, which only shells keep.
        os.environ["PWD"] = str(Path.cwd())
        # The pages ask the server at the address by which everybody else does.
        os.environ.setdefault("PREFECT_SERVER_UI_API_URL", os.environ["PREFECT_API_URL"])
        home.logs_dir.mkdir(parents=True, exist_ok=True)
        if prepare:
            _wait_until_up(None, home)
            _prepare(home)
        else:
            _serve(home)
    except (UsageError, ConfigError) as error:
        _say(str(error))
        raise typer.Exit(EXIT_USAGE) from None
    except ServeError as error:
        _say(str(error))
        raise typer.Exit(EXIT_FAILURE) from None
    except KeyboardInterrupt:
        _say("멈췄습니다.")


def _serve(home: Home) -> None:
    run = home.data_dir / "run"
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / "serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("이 작업 폴더의 작업자가 이미 돌고 있습니다. 배포만 새로 합니다.")
        _wait_until_up(None, home)
        _prepare(home)
        return
    server: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None
    try:
        if _is_up():
            _say(f"[1/4] 도는 Prefect 서버를 씁니다: {_page()}")
        else:
            _say(f"[1/4] Prefect 서버를 띄웁니다: {_page()}")
            server = _start(
                home, "prefect-server", "server", "start",
                "--host", _listening_at(), "--port", str(urlsplit(_api_url()).port or 4200),
            )  # fmt: skip
            _wait_until_up(server, home)
        _prepare(home)
        worker = _start(home, "prefect-worker", "worker", "start", "--pool", _pool_name())
        _say(f"[4/4] 작업자를 띄웠습니다. 화면 {_page()}, 기록 {home.logs_dir}. 끝내려면 Ctrl+C")
        _watch(home, {"prefect-server": server, "prefect-worker": worker})
    finally:
        # The worker first: while it ends, it tells the server so.
        if worker is not None:
            _stop_worker(worker)
        if server is not None:
            _stop(server)
        lock.release()


def _pool_name() -> str:
    from flows.automations import POOL

    return POOL


def _prepare(home: Home) -> None:
    """Make the pool, the deployments and the automations; again is no change."""
    from flows.automations import ensure_automations, ensure_pool

    _say("[2/4] 작업 풀과 배포를 마련합니다")
    asyncio.run(ensure_pool())
    deployed = _start(home, "prefect-deploy", "--no-prompt", "deploy", "--all")
    if deployed.wait() != 0:
        raise ServeError(f"배포하지 못했습니다. 까닭은 {_log(home, 'prefect-deploy')} 에 있습니다.")
    try:
        made = asyncio.run(ensure_automations())
    except MissingDataError as error:
        raise ServeError(str(error)) from error
    new = sum(made.values())
    _say(f"[3/4] 자동화 {len(made)}가지를 마련했습니다 (새로 만든 것 {new}가지)")


def _watch(home: Home, processes: Mapping[str, "subprocess.Popen[bytes] | None"]) -> None:
    while True:
        for name, process in processes.items():
            if process is not None and process.poll() is not None:
                raise ServeError(
                    f"{name} 프로세스가 끝났습니다(코드 {process.returncode}). "
                    f"까닭은 {_log(home, name)} 에 있습니다."
                )
        time.sleep(_POLL_SECONDS)


def _wait_until_up(server: "subprocess.Popen[bytes] | None", home: Home) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while not _is_up():
        is_dead = server is not None and server.poll() is not None
        if is_dead or time.monotonic() > deadline:
            raise ServeError(
                f"Prefect 서버가 답하지 않습니다: {_api_url()}. 그 포트를 쓰는 다른 프로그램이 있는지, "
                f"데이터베이스 주소가 맞는지 확인해 주세요 ({_log(home, 'prefect-server')})."
            )
        time.sleep(_POLL_SECONDS)


def _is_up() -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{_api_url()}/health", timeout=5) as answer:  # noqa: S310 (the address is a setting of the operator)
        return bool(answer.read() == b"true")
    return False


def _start(home: Home, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    path = _log(home, name)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".1.log"))
    # In a session of its own, so that Ctrl+C reaches this process alone, which ends them in order.
    with path.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _stop_worker(worker: "subprocess.Popen[bytes]") -> None:
    """Let the worker end; it waits for what it runs, unless it is asked a second time."""
    if worker.poll() is not None:
        return
    worker.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_WORKER_SECONDS)
            return
        _say(
            "도는 실행이 끝나기를 기다립니다. 기다리지 않으려면 Ctrl+C를 한 번 더 누르세요: 도는 세션은 "
            "혼자 계속 매매하고, 남은 단계는 같은 하루를 다시 시작하면 이어집니다."
        )
        worker.wait()
    except KeyboardInterrupt:
        # What it runs is in sessions of its own and lives on.
        worker.kill()
        worker.wait()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _log(home: Home, name: str) -> Path:
    return home.logs_dir / f"{name}.log"


def _configured_url() -> str:
    """Return where ``prefect.toml`` says that the server is."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise UsageError("prefect.toml의 [api] url에 Prefect 서버의 주소를 적어 주세요.")
    return str(url)


def _listening_at() -> str:
    """Return where the server listens: on this machine alone, unless ``prefect.toml`` says otherwise."""
    from prefect.settings import PREFECT_SERVER_API_HOST

    host, asked = str(PREFECT_SERVER_API_HOST.value()), urlsplit(_api_url()).hostname or ""
    if not _is_loopback(host):
        _say(
            f"주의: Prefect 서버를 이 컴퓨터 밖에서도 닿는 주소({host})에 엽니다. 암호(server.api.auth_string)가 "
            "없으면 닿는 사람은 누구나 실행을 시작하고 멈출 수 있습니다."
        )
    elif not _is_loopback(asked):
        raise UsageError(
            f"Prefect 서버의 주소({_api_url()})가 이 컴퓨터 안의 주소가 아니고, 거기서 답하는 서버도 없습니다. 다른 "
            "컴퓨터의 서버라면 그것을 먼저 켜고, 여기서 띄우려면 주소를 127.0.0.1로 바꿔 주세요. 밖으로 열려면 "
            "prefect.toml의 [server.api] host에 들을 주소를 적어야 합니다."
        )
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _api_url() -> str:
    return os.environ["PREFECT_API_URL"]


def _page() -> str:
    return _api_url().removesuffix("/api")


def _say(sentence: str) -> None:
    typer.echo(sentence)


if __name__ == "__main__":
    typer.run(main)
