"""Sends any Python KIS client to the local exchange without touching its files.

Python imports a module of this name at start-up when its folder is on ``PYTHONPATH``::

    KIS_LOCAL=127.0.0.1:41234 PYTHONPATH=conformance/redirect python your_bot.py

Only the address of a request changes: the hosts of KIS become the local exchange, and ``https``
becomes ``http``. Everything else goes to where it was meant.

Clients compare the venue's dates (a token's end, "today's" orders) with the clock of the machine.
``KIS_LOCAL_NOW=2025-09-08T08:31:00+09:00`` lets that clock begin at the replayed instant, and show
the time of Korea as most clients expect; it needs the package ``time-machine``.
"""

import importlib.abc
import importlib.util
import os
import sys
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

LOCAL = os.environ.get("KIS_LOCAL", "")
NOW = os.environ.get("KIS_LOCAL_NOW", "")
HOSTS = frozenset(
    {
        "openapi.koreainvestment.com",
        "openapivts.koreainvestment.com",
        "ops.koreainvestment.com",
    }
)


def local(url):
    """Return ``url`` with KIS's host replaced by the local exchange."""
    parts = urlsplit(url)
    if parts.hostname not in HOSTS:
        return url
    scheme = {"https": "http", "wss": "ws"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, LOCAL, parts.path, parts.query, parts.fragment))


def redirect_requests(module):
    """Change the address of every REST call as it leaves."""
    original = module.Session.send

    def send(self, request, **options):
        request.url = local(request.url)
        # The exchange is on this machine: a proxy of the environment is not for it.
        if urlsplit(request.url).netloc == LOCAL:
            options["proxies"] = {}
        return original(self, request, **options)

    module.Session.send = send


def redirect_websocket(module):
    """Change the address that websocket-client connects to."""
    original = module.WebSocketApp.__init__

    def init(self, url, *rest, **options):
        original(self, local(url), *rest, **options)

    module.WebSocketApp.__init__ = init


def redirect_websockets(module):
    """Change the address that websockets connects to."""
    original = module.connect

    def connect(uri, *rest, **options):
        return original(local(uri), *rest, **options)

    module.connect = connect


REDIRECTS = {
    "requests": redirect_requests,
    "websocket": redirect_websocket,
    "websockets": redirect_websockets,
}


class Finder(importlib.abc.MetaPathFinder):
    """Redirects a library in the moment a client imports it."""

    def find_spec(self, name, path=None, target=None):
        """Return the library's own loader, with the redirection behind it."""
        if name not in REDIRECTS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            REDIRECTS[name](module)

        spec.loader.exec_module = exec_module
        return spec


if LOCAL:
    sys.meta_path.insert(0, Finder())
    if NOW:
        import time_machine

        now = datetime.fromisoformat(NOW).astimezone(ZoneInfo("Asia/Seoul"))
        time_machine.travel(now, tick=True).start()
