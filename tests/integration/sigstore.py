"""Signatures as sigstore makes and attaches them. OpenSSL's program signs whatever a test thinks of, sigstore's own library
(tests/signer) what cosign would; Debian's skopeo is built without."""
import base64
import json
import pathlib
import subprocess

from daemon import CACHE
from registry_api import OCI_MANIFEST
from suite import Skip

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"


def payload_of(manifest_digest, name):
    return json.dumps({"critical": {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": manifest_digest},
                                    "type": "cosign container image signature"}, "optional": None}).encode()


def tag_of(manifest_digest):
    return manifest_digest.replace(":", "-") + ".sig"


class Signer:
    """A new key pair in `directory`, of a kind as `openssl genpkey` takes it; `public` is for policies."""

    def __init__(self, directory, name, *kind):
        kind = kind or ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        self.private, self.public = (pathlib.Path(directory, f"{name}.{suffix}") for suffix in ("pem", "pub"))
        self._openssl("genpkey", "-algorithm", *kind, "-out", self.private)
        self._openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    @staticmethod
    def _openssl(*arguments, data=None):
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=data).stdout

    def attach(self, repository, manifest_digest, payload):
        """A signature of `payload` as the only one of that manifest."""
        signature = base64.b64encode(self._openssl("dgst", "-sha256", "-sign", self.private, data=payload)).decode()
        attach(repository, manifest_digest, payload, signature)


    def attach_as_cosign(self, repository, name, manifest_digest):
        """A signature by sigstore's library."""
        program = CACHE / "signer/signer"
        if not program.exists():
            raise Skip(f"missing program: signer (tests/signer/make builds it into {program.parent})")
        done = subprocess.run([program, self.private, f"{name}@{manifest_digest}"], check=True, capture_output=True, text=True)
        payload, signature = done.stdout.split()
        attach(repository, manifest_digest, base64.b64decode(payload), signature)


def attach(repository, manifest_digest, payload, signature):
    layer = repository.put_blob(payload, PAYLOAD, annotations={SIGNATURE: signature})
    config = repository.put_blob(b"{}", "application/vnd.oci.image.config.v1+json")
    repository.put_manifest(tag_of(manifest_digest),
                            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]})


def attached(repository, manifest_digest):
    """(payload, signature) of the first signature of that manifest."""
    layer = json.loads(repository.manifest(tag_of(manifest_digest))[0])["layers"][0]
    return repository.blob(layer["digest"]), layer["annotations"][SIGNATURE]
