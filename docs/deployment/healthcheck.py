"""Health check of the container: exit code 0 if the server answers GET /healthz, else 1. Standard library only."""

import os
import ssl
import sys
import urllib.request


def main() -> int:
    """Ask the server on this container's own loopback address."""
    port = os.environ.get("COVID_BERT_SERVE_PORT", "8000")
    certificate = os.environ.get("COVID_BERT_SERVE_TLS_CERTIFICATE")
    # The server's own certificate is what is trusted; it is for the server's name, not for this address.
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    # Also where its issuer's is not in the file.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=4) as reply:
            return 0 if reply.status == 200 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
