"""TLS that presents a client certificate (RFC 8705). The server's own certificate is verified as ever."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from server.domain.errors import Reason
from server.providers.token_request import ClientCertificate
from server.refresh.ports import ExchangeFailed, FailureKind


def presenting(client: ClientCertificate) -> ssl.SSLContext:
    """Return a context that presents a certificate. Raises `ExchangeFailed` (CONFIGURATION) if it and its key are no pair.

    Python's `ssl` reads keys from files only; this one is never on a disk where the system can do without.
    """
    context = ssl.create_default_context()
    text = f"{client.private_key.reveal().strip()}\n{client.certificate.strip()}\n".replace("\\n", "\n").encode()
    try:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("client-certificate")
            try:
                os.write(descriptor, text)
                context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
            finally:
                os.close(descriptor)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "client.pem"
                path.touch(mode=0o600)
                path.write_bytes(text)
                context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, ValueError, OSError):
        raise ExchangeFailed(
            FailureKind.CONFIGURATION,
            Reason.INTEGRATION_MISCONFIGURED,
            "the client's certificate and private key are not a pair in unencrypted PEM",
        ) from None
    return context


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    return ""
