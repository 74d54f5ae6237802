"""The server's certificate for TLS and its key, tried before the server starts."""

from __future__ import annotations

import ssl

from covid_bert.errors import ParameterError
from covid_bert.server.configuration import ServerConfiguration


def check_certificate(configuration: ServerConfiguration) -> None:
    """Try the certificate for TLS and its key, if there are any.

    Parameters
    ----------
    configuration
        The server's set-up.

    Raises
    ------
    ParameterError
        If they cannot be used; saying which of them.
    """
    certificate, key = configuration.tls_certificate, configuration.tls_key
    if certificate is None or key is None:
        return
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ParameterError(
                f"The {what} for TLS, {path.name}, cannot be read: {error.strerror}.",
                "Give a file that this user can read.",
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(certificate)
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"The certificate for TLS, {certificate.name}, is damaged or holds none.", "Give a PEM file."
        ) from error
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise ParameterError(
                f"The certificate {certificate.name} and the key {key.name} for TLS do not belong together.",
                "Give the key that the certificate was made for; in the certificate's file, that one comes first.",
            ) from error
        raise ParameterError(
            f"The key for TLS, {key.name}, cannot be used.", "Give a PEM file with a key without a passphrase."
        ) from error
