"""Certificates for tests of TLS, made by openssl(1)."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_certificates(where: Path) -> Path:
    """A CA (ca.pem) that signed switch.pem and tool.pem, and other.pem that signed itself.

    The keys have the same names, ending in .key.
    """

    def openssl(*argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=where, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl("req", "-x509", *_CURVE, "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    for name in ("switch", "tool"):
        openssl("req", *_CURVE, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-out", f"{name}.pem")  # fmt: skip
    return where
