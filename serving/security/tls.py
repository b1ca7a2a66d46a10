"""TLS for HTTP and gRPC: one pair of files, checked before anything listens, read again when it is renewed.

Knows certificates. Knows nothing of what is served over them.
"""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import BadInput
from serving.security.watched import Watched
from serving.settings import Settings

if TYPE_CHECKING:
    import grpc

log = logging.getLogger("modelyard.serving")


@dataclass(frozen=True)
class TlsFiles:
    """What TLS needs; that the files fit each other has been checked."""

    cert: Path
    key: Path
    client_ca: Path | None

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that may be renewed."""
        return (self.cert, self.key, *([self.client_ca] if self.client_ca else []))


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files that the settings name, or None where TLS is not asked for.

    Raises:
        BadInput: one is missing or cannot be read, or they do not belong together.
    """
    if settings.tls_cert is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise BadInput("--tls-client-ca is given, but no --tls-cert and --tls-key: clients are asked only over TLS")
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        given, missing = ("--tls-cert", "--tls-key") if settings.tls_cert else ("--tls-key", "--tls-cert")
        raise BadInput(f"{given} is given without {missing}; TLS needs both")
    files = TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    _context(files)
    return files


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """What HTTP listens with. Renewed files are taken for the next handshake; a broken renewal keeps the old ones."""
    first, watched = _context(files), Watched(*files.all)
    current = first

    def choose(connection: ssl.SSLObject, _name: str | None, _context_of_listener: ssl.SSLContext) -> None:
        nonlocal current
        if watched.changed():
            try:
                current = _context(files)
                log.info("TLS: %s was read again", files.cert)
            except BadInput as cause:
                log.error("TLS: %s; the certificate from before stays in use", cause)
        if current is not first:
            connection.context = current

    first.sni_callback = choose  # called at every handshake, whether the client names a server or not
    return first


def grpc_credentials(files: TlsFiles) -> "grpc.ServerCredentials":
    """What gRPC listens with, renewed in the same way."""
    import grpc

    watched = Watched(*files.all)

    def read() -> "grpc.ServerCertificateConfiguration":
        return grpc.ssl_server_certificate_configuration(
            [(files.key.read_bytes(), files.cert.read_bytes())],
            root_certificates=files.client_ca.read_bytes() if files.client_ca else None,
        )

    def renewed() -> "grpc.ServerCertificateConfiguration | None":
        if not watched.changed():
            return None
        try:
            _context(files)
        except BadInput as cause:
            log.error("TLS: %s; the certificate from before stays in use", cause)
            return None
        return read()

    return grpc.dynamic_ssl_server_credentials(
        read(), renewed, require_client_authentication=files.client_ca is not None
    )


def _context(files: TlsFiles) -> ssl.SSLContext:
    for file in files.all:
        _check_readable(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The empty password: a key that needs one is an error here, not a prompt that nobody sees.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, OSError) as cause:
        raise BadInput(_why(files, cause)) from None
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as cause:
            raise BadInput(
                f"{files.client_ca}: it holds no certificates that clients could be checked with ({cause}); "
                "expected are one or more '-----BEGIN CERTIFICATE-----' blocks (PEM)"
            ) from None
    return context


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as cause:
        raise BadInput(f"the TLS file cannot be read: {cause}") from None


def _why(files: TlsFiles, cause: Exception) -> str:
    reason = getattr(cause, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"{files.key} is not the private key of the certificate in {files.cert}; give two that belong together"
    if b"ENCRYPTED" in files.key.read_bytes():
        return f"{files.key}: the key is locked with a password; give it without: openssl pkey -in KEY -out PLAIN"
    return (
        f"no TLS with certificate {files.cert} and key {files.key}: {cause}; expected are PEM files, the first with "
        "'-----BEGIN CERTIFICATE-----' (the server's own, then those above it), the second with '-----BEGIN ... "
        "PRIVATE KEY-----'"
    )
