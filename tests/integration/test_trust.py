#!/usr/bin/env python3
"""Who may say which images run: the policy file and the verifier programs, with a real registry. What is refused leaves
nothing in the store."""
import json
import os
import pathlib
import sys

import fixture
import sigstore
from registry_api import OCI_INDEX, Repository, digest
from suite import equal, main, need_programs

IMAGE, OTHER = "berth/files:one", "berth/files:many"
REPOSITORY = "signed/app"
ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]


def policy_file(daemon):
    return pathlib.Path(daemon.files, "policy.json")


def settings(daemon):
    need_programs("openssl")
    set_policy(daemon, {"default": ACCEPT})
    os.makedirs(verifiers(daemon))
    return (f'image.policy = "{policy_file(daemon)}"\nimage.verifiers.dir = "{verifiers(daemon)}"\nimage.verifiers.timeout = 2\n')


def verifiers(daemon):
    return f"{daemon.files}/verifiers"


def set_policy(daemon, policy):
    text = policy if isinstance(policy, str) else json.dumps(policy)
    policy_file(daemon).write_text(text, encoding="utf-8")


def signer(f, name="key"):
    """One key of that name for all cases."""
    known = f.__dict__.setdefault("signers", {})
    if name not in known:
        known[name] = sigstore.Signer(f.daemon.files, name)
    return known[name]


def require_key(f, name="key", **more):
    requirement = {"type": "sigstoreSigned", "keyPath": str(signer(f, name).public), **more}
    set_policy(f.daemon, {"default": REJECT, "transports": {"docker": {f.registry.address: [requirement]}}})


def sign(f, tag, image=IMAGE, name="key"):
    """Pushes a signed image; (its reference, its digest)."""
    ref, pushed = f.registry.ref(f"{REPOSITORY}:{tag}"), push_unsigned(f, image, tag)
    signer(f, name).attach(repository(f), pushed, sigstore.payload_of(pushed, ref))
    return ref, pushed


def push_unsigned(f, image, tag):
    """Its digest."""
    name, _, source_tag = image.partition(":")
    source = Repository(f.registry.address, name)
    data, kind = source.manifest(source_tag)
    manifest = json.loads(data)
    for part in [manifest["config"], *manifest["layers"]]:
        repository(f).put_blob(source.blob(part["digest"]))
    return repository(f).put_manifest(tag, data, kind)


def repository(f):
    return Repository(f.registry.address, REPOSITORY)


def store_of(f):
    top = pathlib.Path(f.daemon.root, "images")
    return sorted(str(path) for part in ("layers", "content") for path in (top / part).iterdir()) + \
        sorted(i["id"] for i in f.crictl.json("images")["images"])


def accept(f, ref):
    f.crictl("pull", ref)
    f.crictl("rmi", ref)


def refuse(f, ref, *parts):
    """kubelet knows the error by its code and by how its message begins."""
    before = store_of(f)
    refused = f.crictl.call("pull", ref).refused("Unknown", *parts)
    assert refused.message.startswith("SignatureValidationFailed: "), refused.message
    equal(store_of(f), before, "the store after a refusal")


def test_signed(f):
    ref, name = sign(f, "good")
    require_key(f)
    accept(f, ref)
    accept(f, f.registry.ref(f"{REPOSITORY}@{name}"))


def test_signed_by_sigstores_library(f):
    """With each kind of key. cosign signs a repository, not a tag."""
    ref, name = f.registry.ref(f"{REPOSITORY}:cosign"), push_unsigned(f, IMAGE, "cosign")
    for kind in (("EC", "-pkeyopt", "ec_paramgen_curve:P-256"), ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("ED25519",),
                 ("RSA", "-pkeyopt", "rsa_keygen_bits:2048")):
        key = sigstore.Signer(f.daemon.files, "kind", *kind)
        key.attach_as_cosign(repository(f), f.registry.ref(REPOSITORY), name)
        requirement = {"type": "sigstoreSigned", "keyPath": str(key.public), "signedIdentity": {"type": "matchRepository"}}
        set_policy(f.daemon, {"default": [requirement]})
        accept(f, ref)
        del requirement["signedIdentity"]
        set_policy(f.daemon, {"default": [requirement]})
        refuse(f, ref, f"a signature is for the name '{f.registry.ref(REPOSITORY)}'")


def test_unsigned(f):
    ref = f.registry.ref(IMAGE)
    require_key(f)
    refuse(f, ref, "there is no signature of sha256:", "policy.json", f'transports.docker["{f.registry.address}"][0] (sigstoreSigned)')


def test_signed_by_another_key(f):
    ref, _ = sign(f, "foreign", OTHER, "other")
    require_key(f)
    refuse(f, ref, "not by a key of the policy")
    require_key(f, "other")
    accept(f, ref)


def test_any_of_several_keys(f):
    ref, _ = sign(f, "several")
    keys = [str(signer(f, name).public) for name in ("other", "key")]
    set_policy(f.daemon, {"default": [{"type": "sigstoreSigned", "keyPaths": keys}]})
    accept(f, ref)


def test_tampered_payload(f):
    ref, name = sign(f, "tampered")
    payload, signature = sigstore.attached(repository(f), name)
    require_key(f)
    accept(f, ref)
    sigstore.attach(repository(f), name, payload.replace(b"tampered", b"tempered"), signature)
    refuse(f, ref, "not by a key of the policy")


def test_signature_of_another_image(f):
    """Moved beneath the tag of an image that nobody signed."""
    ref, good = sign(f, "moved")
    bad = push_unsigned(f, OTHER, "moved")
    payload, signature = sigstore.attached(repository(f), good)
    sigstore.attach(repository(f), bad, payload, signature)
    require_key(f)
    refuse(f, ref, "a signature is for another image", good)


def test_signed_under_another_name(f):
    """A tag moved to an old, signed image; a digest says which image is meant, so there it does not matter."""
    _, name = sign(f, "old")
    repository(f).put_manifest("new", repository(f).manifest("old")[0])
    ref = f.registry.ref(f"{REPOSITORY}:new")
    require_key(f)
    refuse(f, ref, "a signature is for the name", f"{REPOSITORY}:old")
    accept(f, f.registry.ref(f"{REPOSITORY}@{name}"))
    require_key(f, signedIdentity={"type": "matchRepository"})
    accept(f, ref)
    require_key(f, signedIdentity={"type": "remapIdentity", "prefix": f.registry.address, "signedPrefix": "vendor.example.com"})
    refuse(f, ref, "a signature is for the name")


def test_index_signed_as_a_whole(f):
    """Of an index it is enough that it is signed itself, or the manifest in it that is for this machine."""
    inner = push_unsigned(f, IMAGE, "inner")
    data, kind = repository(f).manifest("inner")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX,
             "manifests": [{"mediaType": kind, "digest": inner, "size": len(data), "platform": {"os": "linux", "architecture": "amd64"}}]}
    outer = repository(f).put_manifest("index", index, OCI_INDEX)
    ref = f.registry.ref(f"{REPOSITORY}:index")
    require_key(f)
    signer(f).attach(repository(f), outer, sigstore.payload_of(outer, ref))
    accept(f, ref)
    signer(f).attach(repository(f), outer, sigstore.payload_of(inner, ref))
    refuse(f, ref, "a signature is for another image")


def test_what_is_in_the_store_is_checked_again(f):
    ref, _ = sign(f, "again")
    require_key(f)
    f.crictl("pull", ref)
    f.cleanup(f.crictl, "rmi", ref)
    set_policy(f.daemon, {"default": REJECT})
    refuse(f, ref, "default[0] (reject): every image is rejected")


def test_scopes(f):
    ref = f.registry.ref(IMAGE)
    set_policy(f.daemon, {"default": REJECT, "transports": {"docker": {ref: ACCEPT}}})
    accept(f, ref)
    refuse(f, f.registry.ref(OTHER), "default[0] (reject)")
    set_policy(f.daemon, {"default": ACCEPT, "transports": {"docker": {f.registry.ref("berth"): REJECT}}})
    refuse(f, ref, f'transports.docker["{f.registry.address}/berth"][0] (reject)')


def test_malformed_policy(f):
    ref = f.registry.ref(IMAGE)
    for text, why in (("{", "invalid JSON"), ('{"default": []}', "default: expected a list"),
                      ('{"default": [{"type": "insecureAcceptAnything", "keyPath": "/x"}]}', "default[0]: unknown field 'keyPath'"),
                      ('{"default": [{"type": "trustMe"}]}', "default[0].type: unknown type 'trustMe'")):
        set_policy(f.daemon, text)
        refuse(f, ref, f"policy {policy_file(f.daemon)}", why)
    policy_file(f.daemon).unlink()
    refuse(f, ref, str(policy_file(f.daemon)), "No such file")


def test_requirement_that_berth_cannot_check(f):
    set_policy(f.daemon, {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]})
    refuse(f, f.registry.ref(IMAGE), "policy.json: default[0] (signedBy): berth cannot check this requirement")


# -- verifier programs


def add_verifier(f, name, script):
    set_policy(f.daemon, {"default": ACCEPT})
    path = pathlib.Path(verifiers(f.daemon), name)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    f.cleanup(path.unlink)


def test_verifiers_are_told_what_is_pulled(f):
    told = pathlib.Path(f.daemon.files, "told")
    add_verifier(f, "v", f'{{ printf "%s\\n" "$@"; cat; }} >{told}; echo because')
    accept(f, f.registry.ref(IMAGE))
    data, kind = Repository(f.registry.address, "berth/files").manifest("one")
    *arguments, descriptor = told.read_text(encoding="utf-8").splitlines()
    equal(arguments, ["-name", f.registry.ref(IMAGE), "-digest", digest(data), "-stdin-media-type",
                      "application/vnd.oci.descriptor.v1+json"])
    equal(json.loads(descriptor), {"mediaType": kind, "digest": digest(data), "size": len(data)})


def test_verifier_refuses(f):
    add_verifier(f, "10-yes", "exit 0")
    add_verifier(f, "20-no", "echo not on a Friday; exit 1")
    refuse(f, f.registry.ref(IMAGE), "image verifier 20-no refused it (exit code 1): not on a Friday")


def test_verifier_takes_too_long(f):
    add_verifier(f, "slow", f"sleep 1000 & echo $! >{f.daemon.files}/child; wait")
    refuse(f, f.registry.ref(IMAGE), "image verifier slow", "did not end within 2s")
    child = pathlib.Path(f.daemon.files, "child").read_text(encoding="utf-8").strip()
    stat = pathlib.Path(f"/proc/{child}/stat")
    assert not stat.exists() or ") Z " in stat.read_text(encoding="utf-8"), "the verifier's child goes on"


main(sys.modules[__name__], fixture.make([], [IMAGE, OTHER], settings))
