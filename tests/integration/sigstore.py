"""Keys as sigstore keeps them, signatures as sigstore attaches them, and skopeo as the signer of another house.

A private key is a PKCS #8 document encrypted with scrypt and NaCl's secretbox (XSalsa20 and Poly1305), which is written out
here because no package that every test machine has can do it."""
import base64
import hashlib
import json
import os
import pathlib
import struct
import subprocess

from registry_api import OCI_MANIFEST

PASSWORD = b"a password of the tests"
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
SIGMA = b"expand 32-byte k"


def _rotated(value, count):
    value &= 0xFFFFFFFF
    return (value << count | value >> (32 - count)) & 0xFFFFFFFF


def _salsa_rounds(key, block):
    """The state after twenty rounds, and before them (D. J. Bernstein, The Salsa20 family of stream ciphers)."""
    k, n, c = struct.unpack("<8I", key), struct.unpack("<4I", block), struct.unpack("<4I", SIGMA)
    start = [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]
    x = list(start)
    columns = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
    rows = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))
    for _ in range(10):
        for a, b, c_, d in columns + rows:
            x[b] ^= _rotated(x[a] + x[d], 7)
            x[c_] ^= _rotated(x[b] + x[a], 9)
            x[d] ^= _rotated(x[c_] + x[b], 13)
            x[a] ^= _rotated(x[d] + x[c_], 18)
    return x, start


def _xsalsa20(key, nonce, length):
    """The first `length` bytes of the key stream."""
    x, _ = _salsa_rounds(key, nonce[:16])
    derived = struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))
    out = b""
    for counter in range(length // 64 + 1):
        x, start = _salsa_rounds(derived, nonce[16:] + struct.pack("<Q", counter))
        out += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, start)))
    return out[:length]


def _poly1305(key, message):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(message), 16):
        total = (total + int.from_bytes(message[i:i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def _secretbox(key, nonce, message):
    stream = _xsalsa20(key, nonce, 32 + len(message))
    cipher = bytes(a ^ b for a, b in zip(message, stream[32:]))
    return _poly1305(stream[:32], cipher) + cipher


def _encrypted(pkcs8):
    salt, nonce = os.urandom(32), os.urandom(24)
    key = hashlib.scrypt(PASSWORD, salt=salt, n=32768, r=8, p=1, maxmem=1 << 26, dklen=32)
    def text(data):
        return base64.b64encode(data).decode()
    document = {"kdf": {"name": "scrypt", "params": {"N": 32768, "r": 8, "p": 1}, "salt": text(salt)},
                "cipher": {"name": "nacl/secretbox", "nonce": text(nonce)}, "ciphertext": text(_secretbox(key, nonce, pkcs8))}
    return b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n" + base64.encodebytes(json.dumps(document).encode()) + \
        b"-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"


def payload_of(manifest_digest, name):
    return json.dumps({"critical": {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": manifest_digest},
                                    "type": "cosign container image signature"}, "optional": None}).encode()


def tag_of(manifest_digest):
    return manifest_digest.replace(":", "-") + ".sig"


class Signer:
    """A new key pair in `directory`: NAME.pub is for policies."""

    def __init__(self, directory, name):
        self.directory, self.name = pathlib.Path(directory), name
        self.plain, self.public = self._path("pem"), self._path("pub")
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.plain)
        self._openssl("pkey", "-in", self.plain, "-pubout", "-out", self.public)
        pkcs8 = self._openssl("pkcs8", "-topk8", "-nocrypt", "-in", self.plain, "-outform", "DER")
        self._path("key").write_bytes(_encrypted(pkcs8))
        self._path("password").write_bytes(PASSWORD)
        registries = self.directory / "registries.d"
        registries.mkdir(exist_ok=True)
        (registries / "default.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n", encoding="utf-8")

    def _path(self, suffix):
        return self.directory / f"{self.name}.{suffix}"

    @staticmethod
    def _openssl(*arguments, data=None):
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=data).stdout

    def push(self, source, destination, *options):
        """skopeo copies the image, and signs it at its destination."""
        subprocess.run(["skopeo", "--insecure-policy", "--registries.d", self.directory / "registries.d", "copy", "-q",
                        "--src-tls-verify=false", "--dest-tls-verify=false", "--sign-by-sigstore-private-key", self._path("key"),
                        "--sign-passphrase-file", self._path("password"), *options, source, f"docker://{destination}"], check=True)

    def attach(self, repository, manifest_digest, payload):
        """A signature of `payload` as the only one of that manifest."""
        signature = base64.b64encode(self._openssl("dgst", "-sha256", "-sign", self.plain, data=payload)).decode()
        attach(repository, manifest_digest, payload, signature)


def attach(repository, manifest_digest, payload, signature):
    layer = repository.put_blob(payload, PAYLOAD, annotations={SIGNATURE: signature})
    config = repository.put_blob(b"{}", "application/vnd.oci.image.config.v1+json")
    repository.put_manifest(tag_of(manifest_digest),
                            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]})


def attached(repository, manifest_digest):
    """(payload, signature) of the first signature of that manifest."""
    layer = json.loads(repository.manifest(tag_of(manifest_digest))[0])["layers"][0]
    return repository.blob(layer["digest"]), layer["annotations"][SIGNATURE]
