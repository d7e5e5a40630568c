"""Who may come in: application keys, access tokens, WebSocket keys and the call limit.

Token life follows the venue's clock, the call limit the wall's.
"""

import hashlib
import secrets
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from trading.clock import monotonic_seconds
from trading.exchange.journal import Fact, Journal
from trading.wire import auth, codes
from trading.wire.auth import AccessToken, RequestHead

TOKEN_LIFE = timedelta(hours=24)
SAME_TOKEN = timedelta(hours=6)
ISSUE_PAUSE_SECONDS = 60


class Denied(Exception):  # noqa: N818 -- an answer of the gateway, not a fault
    """The gateway's no: an HTTP status and the body that goes with it."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def oauth_denied(code: str) -> Denied:
    """Return the refusal of the OAuth endpoints."""
    return Denied(403, codes.oauth_refusal(code))


def gateway_denied(code: str, text: str = "") -> Denied:
    """Return the refusal of the gateway in front of the services."""
    return Denied(500, codes.refusal(code, text))


class Gate:
    """Keys and limits of one venue.

    An application key is registered with its secret when it first asks for a token or a
    WebSocket key; everything later must match. With ``known_keys`` there are no others. ``owner`` stands for the key everywhere else.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        calls_per_second: int,
        issue_pause_seconds: float = ISSUE_PAUSE_SECONDS,
        known_keys: frozenset[str] = frozenset(),
    ) -> None:
        self._journal = journal
        self._calls_per_second = calls_per_second
        self._issue_pause = issue_pause_seconds
        self._known_keys = known_keys
        self._secrets = {fact.key: fact.body["secret"] for fact in journal.read("app")}
        self._hts_ids = {fact.key: fact.body["hts_id"] for fact in journal.read("app")}
        self._tokens = {fact.key: dict(fact.body) for fact in journal.read("token")}
        self._approvals = {fact.key: dict(fact.body) for fact in journal.read("approval")}
        self._issued: dict[str, tuple[float, datetime]] = {}
        self._calls: dict[str, deque[float]] = {}

    def issue_token(self, fields: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Answer ``/oauth2/tokenP``: the same token again within six hours."""
        owner = self._register(fields, "appsecret")
        last = self._issued.get(owner)
        # Once a minute by either clock: a replay may live days between two minutes of ours.
        pause = timedelta(seconds=self._issue_pause)
        if last is not None and (
            monotonic_seconds() - last[0] < self._issue_pause and now - last[1] < pause
        ):
            raise oauth_denied("EGW00133")
        self._issued[owner] = (monotonic_seconds(), now)
        for value, token in self._tokens.items():
            issued = datetime.fromisoformat(token["issued"])
            if token["owner"] == owner and not token["revoked"] and now - issued < SAME_TOKEN:
                expires = datetime.fromisoformat(token["expires"])
                return auth.render_token(AccessToken(value=value, expires_at=expires), now)
        value = secrets.token_urlsafe(128)
        expires = (now + TOKEN_LIFE).replace(microsecond=0)
        self._keep_token(
            value,
            {
                "owner": owner,
                "issued": now.isoformat(),
                "expires": expires.isoformat(),
                "revoked": False,
            },
        )
        return auth.render_token(AccessToken(value=value, expires_at=expires), now)

    def revoke_token(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``/oauth2/revokeP``: the token is dead for every process of its key."""
        owner = self._register(fields, "appsecret")
        value = str(fields.get("token", ""))
        token = self._tokens.get(value)
        if token is None or token["owner"] != owner or token["revoked"]:
            raise oauth_denied("EGW00121")
        self._keep_token(value, {**token, "revoked": True})
        return auth.render_revoked()

    def spoil_token(self, value: str, *, expired_at: datetime | None = None) -> None:
        """End a token before its time, as maintenance does: void, or expired at an instant.

        Its issue then counts as long ago, for the next one to be given at once.
        """
        token = self._tokens.get(value)
        if token is None:
            return
        end = expired_at
        if end is None:
            self._keep_token(value, {**token, "revoked": True})
        else:
            issued = (end - TOKEN_LIFE).isoformat()
            self._keep_token(value, {**token, "issued": issued, "expires": end.isoformat()})
        self._issued.pop(token["owner"], None)

    def issue_approval(self, fields: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Answer ``/oauth2/Approval`` with a WebSocket key."""
        owner = self._register(fields, "secretkey")
        text = secrets.token_hex(16)
        key = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        body = {"owner": owner, "issued": now.isoformat()}
        self._journal.commit(Fact("approval", key, "", body))
        self._approvals[key] = body
        return auth.render_approval(key)

    def owner_of_approval(self, key: str, now: datetime) -> str | None:
        """Return whose WebSocket key this is; ``None`` when unknown or older than a day."""
        body = self._approvals.get(key)
        if body is None or now - datetime.fromisoformat(body["issued"]) > TOKEN_LIFE:
            return None
        return str(body["owner"])

    def claim_hts_id(self, owner: str, hts_id: str) -> bool:
        """Bind an HTS id to the key that names it first; return whether it is this key's."""
        known = self._hts_ids.get(owner, "")
        taken = any(other == hts_id for key, other in self._hts_ids.items() if key != owner)
        if not hts_id or taken or (known and known != hts_id):
            return False
        if not known:
            self._hts_ids[owner] = hts_id
            self._keep_app(owner)
        return True

    def hts_id(self, owner: str) -> str:
        """Return the HTS id of the key, blank while it has named none."""
        return str(self._hts_ids.get(owner, ""))

    def check_credentials(self, head: RequestHead) -> str:
        """Return the owner of the key and secret in a request's headers."""
        fields = {"appkey": head.app_key, "appsecret": head.app_secret}
        if not head.app_key:
            raise gateway_denied("EGW00102")
        if not head.app_secret:
            raise gateway_denied("EGW00104")
        owner = _digest(head.app_key)
        if self._secrets.get(owner, "") != _digest(fields["appsecret"]):
            raise gateway_denied("EGW00105" if owner in self._secrets else "EGW00103")
        return owner

    def check_token(self, head: RequestHead, now: datetime) -> str:
        """Return the owner of a request whose token and keys are good."""
        token = self._tokens.get(head.token)
        if token is None or token["revoked"]:
            raise gateway_denied("EGW00121")
        if now >= datetime.fromisoformat(token["expires"]):
            raise gateway_denied("EGW00123")
        owner = self.check_credentials(head)
        if token["owner"] != owner:
            raise gateway_denied("EGW00121")
        return owner

    def count_call(self, owner: str) -> None:
        """Count a call of the sliding second; refuse the one too many."""
        now = monotonic_seconds()
        calls = self._calls.setdefault(owner, deque())
        while calls and now - calls[0] >= 1.0:
            calls.popleft()
        if len(calls) >= self._calls_per_second:
            raise gateway_denied("EGW00201")
        calls.append(now)

    def _register(self, fields: Mapping[str, Any], secret_name: str) -> str:
        if not fields.get("grant_type") and secret_name in fields and "token" not in fields:
            raise oauth_denied("EGW00115")
        if fields.get("grant_type", "client_credentials") != "client_credentials":
            raise oauth_denied("EGW00116")
        key, secret = str(fields.get("appkey", "")), str(fields.get(secret_name, ""))
        if not key or (self._known_keys and key not in self._known_keys):
            raise oauth_denied("EGW00103")
        if not secret:
            raise oauth_denied("EGW00105")
        owner, digest = _digest(key), _digest(secret)
        if self._secrets.setdefault(owner, digest) != digest:
            raise oauth_denied("EGW00105")
        self._keep_app(owner)
        return owner

    def _keep_app(self, owner: str) -> None:
        body = {"secret": self._secrets[owner], "hts_id": self._hts_ids.get(owner, "")}
        self._journal.commit(Fact("app", owner, "", body))

    def _keep_token(self, value: str, body: dict[str, Any]) -> None:
        self._journal.commit(Fact("token", value, "", body))
        self._tokens[value] = body


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
