"""One setting moves Prefect's books to PostgreSQL, and the day is the same."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from program import EAGER, configure, trading

pytest.importorskip("asyncpg", reason="pip install -e '.[postgres]' 를 한 뒤에만 돕니다")

START = "2004-11-12"
ONE_DAY = ("demo", "--start", START, "--sessions", "1", "--json")
# As Debian and Ubuntu install it; elsewhere the programs are on the path.
PLACES = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), None)
SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def program(name: str) -> str | None:
    found = (shutil.which(name, path=str(place) if place else None) for place in PLACES)
    return next((path for path in found if path), None)


def unprivileged(command: Sequence[str]) -> list[str]:
    """Return ``command`` for a user that PostgreSQL agrees to run as; it refuses root."""
    if os.geteuid() != 0:
        return list(command)
    return ["runuser", "-u", "nobody", "--", *command]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[str]:
    """A cluster of its own on a free port; the address of its database."""
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL이 설치되어 있지 않아 건너뜀 (initdb, postgres)")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("root로는 PostgreSQL을 띄울 수 없고 runuser도 없어 건너뜀")
    # pytest's own folders are closed to other users.
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("postgres") / "postgres.log"
    made = unprivileged([
        initdb, "-D", str(folder / "data"), "-U", "trading", "--auth=trust", "-E", "UTF8",
        "--locale=C", "--no-sync",
    ])  # fmt: skip
    subprocess.run(made, check=True, capture_output=True, cwd=folder)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            unprivileged([
                server, "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1",
                "-k", str(folder), "-F",
            ]),
            stdout=sink, stderr=sink, cwd=folder,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while b"ready to accept connections" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"postgresql+asyncpg://trading@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_day_on_postgres(postgres, tmp_path):
    """The day's flow is in PostgreSQL and no SQLite file was made; the ledger stays a file."""
    root = configure(tmp_path, EAGER)

    answer = trading(root, *ONE_DAY, **{SETTING: postgres})

    assert answer.code == 0, answer.err
    assert answer.json["orders"] > 2
    assert answer.json["cash_difference"] == answer.json["parity"]["differences"] == 0
    runs = asked(postgres, "SELECT name FROM flow_run WHERE state_name = 'Completed' ORDER BY name")
    stages = ("마감", "시장 데이터", "장전", "장중", "특성", "하루 매매", "학습")
    assert [run.rsplit(" ", 1)[0].removesuffix(" 미국") for run in runs] == list(stages)
    assert not list((root / "data" / "prefect").glob("*.db"))
    assert (root / "data" / "ledger" / "demo-us.db").is_file()


def asked(url: str, query: str) -> list[str]:
    import asyncio

    import asyncpg

    async def ask() -> list[str]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [row[0] for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(ask())
