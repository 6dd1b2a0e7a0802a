"""Certificates, good and broken, signed by an authority that is made for one test web."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GOOD, EXPIRED, WRONG_NAME, SELF_SIGNED = "good", "expired", "wrong-name", "self-signed"
GARBAGE, STALL = "garbage", "stall"
"""No certificate at all: bytes that are no handshake, and silence."""
KINDS = (GOOD, EXPIRED, WRONG_NAME, SELF_SIGNED, GARBAGE, STALL)
DAY = datetime.timedelta(days=1)


@dataclass
class Certificates:
    """Files in a folder of their own. `authority` is what whoever connects must trust (SSL_CERT_FILE)."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test web")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        unsigned = _unsigned(self._name, self._name, self._key).add_extension(constraints, critical=True)
        self._certificate = unsigned.sign(self._key, hashes.SHA256())
        self.authority = self.folder / "authority.pem"
        self.authority.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, kind: str, host: str) -> ssl.SSLContext:
        """What a server needs that shows a certificate of this kind."""
        path = self.folder / f"{host}.pem"
        path.write_bytes(self._pem(kind, host))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _pem(self, kind: str, host: str) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        named = "elsewhere.example" if kind == WRONG_NAME else host
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, named)])
        own = kind == SELF_SIGNED
        issuer, signer = (name, key) if own else (self._name, self._key)
        age = 30 * DAY if kind == EXPIRED else DAY
        alternative = x509.SubjectAlternativeName([x509.DNSName(named)])
        unsigned = _unsigned(name, issuer, key, age).add_extension(alternative, critical=False)
        if not own:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            unsigned = unsigned.add_extension(authority, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signed = unsigned.sign(signer, hashes.SHA256())
        return private + signed.public_bytes(serialization.Encoding.PEM)


def _unsigned(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    age: datetime.timedelta = DAY,
) -> x509.CertificateBuilder:
    """Valid for ten days from the day `age` ago."""
    begin = datetime.datetime.now(datetime.UTC) - age
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 10 * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
