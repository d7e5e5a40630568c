"""A real SMTP server on a free port, and a certificate that it can be trusted by."""

import asyncio
import ssl
import threading
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default as email_policy
from pathlib import Path

from aiosmtpd.smtp import SMTP


class Mailbox:
    """The server, keeping what it is given; it refuses, hangs and asks for more as it is told."""

    def __init__(self) -> None:
        self.mails = []
        self.arrived = threading.Event()
        self.asked = threading.Event()
        self.refusals = 0
        self.refused_recipients = ()
        self.refusal = "550 no such user here"
        self.hangs = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = None
        self.port = 0

    def listen(self, **options) -> None:
        async def open_server():
            return await self._loop.create_server(
                lambda: SMTP(self, hostname="localhost", loop=self._loop, **options),
                "127.0.0.1",
                self.port,
            )

        self._server = asyncio.run_coroutine_threadsafe(open_server(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused_recipients:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.asked.set()
        if self.hangs:
            await asyncio.sleep(60)
        if self.refusals:
            self.refusals -= 1
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content, policy=email_policy))
        self.arrived.set()
        return "250 OK"

    def close(self) -> None:
        async def close_server():
            if self._server is not None:
                self._server.close()

        asyncio.run_coroutine_threadsafe(close_server(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server context for localhost and the file of the authority that signed it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority, secret = folder / "authority.pem", folder / "key.pem"
    authority.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, secret)
    return context, authority
