"""Starts the pages on this machine's loopback; nobody else reaches them."""

import contextlib
import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trading.errors import UsageError

if TYPE_CHECKING:
    from trading.bootstrap import Installation

# Never another address: there is no encryption, and a password is a choice.
HOST: Final = "127.0.0.1"
_ENTRY: Final = Path(__file__).with_name("app.py")
_OPTIONS: Final = {
    "server.address": HOST,
    # Without this Streamlit asks for a mail address at its first start, and opens a browser.
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "browser.gatherUsageStats": "false",
    "browser.serverAddress": HOST,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "logger.level": "error",
    "logger.hideWelcomeMessage": "true",
    "theme.base": "light",
    "theme.primaryColor": "#2456d6",
}


def prepare(installation: "Installation", port: int) -> None:
    """Load what the pages need, before anybody is told where they are: it takes seconds.

    Raises
    ------
    UsageError
        If ``port`` is taken, or the program may not listen on it.
    """
    check_port(port)
    from trading.dashboard import app, data

    for account in data.accounts(installation.home):
        # A calendar takes seconds as well. What goes wrong is said by the pages, and logged there.
        with contextlib.suppress(Exception):
            data.account_now(installation.home, account)
    for name, *_ in app.PAGES:
        import_module(f"trading.dashboard.{name}")


def serve(installation: "Installation", port: int) -> None:
    """Serve the dashboard of a home until the process is told to end."""
    from streamlit.web import cli as streamlit_cli

    options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    arguments = ["run", str(_ENTRY), f"--server.port={port}", *options]
    # What Streamlit says on standard output is English, and only that it starts and stops.
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        streamlit_cli.main([*arguments, "--", str(installation.home.root)], standalone_mode=False)


def address(port: int) -> str:
    """Return what is typed into the browser."""
    return f"http://{HOST}:{port}"


def check_port(port: int) -> None:
    """Raise ``UsageError`` where nobody can listen on ``port``."""
    with socket.socket() as probe:
        # As the server itself: a port that a closed connection still holds is free.
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise UsageError(
                f"{port} 포트를 열 권한이 없습니다. --port 로 1024 이상의 포트를 주십시오."
            ) from None
        except OSError:
            raise UsageError(
                f"{port} 포트를 다른 프로그램이 쓰고 있습니다. 이미 뜬 대시보드인지 "
                f"{address(port)} 를 열어 보고, 아니면 --port 로 다른 포트를 주십시오."
            ) from None
