"""A registry that lies. What it does wrong is the name of the repository that is asked for; `good` is served rightly, and
so is everything once it is told to be honest."""
import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import random
import socket
import ssl
import tarfile
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _hostile(tar, lie, canary):
    """Entries that mean to leave the layer; each would make or change the file `canary`."""
    up = "../" * 12 + canary.strip("/")
    if lie == "tar-dots":
        _add(tar, up, data=b"out")
    elif lie == "tar-absolute":
        _add(tar, canary, data=b"out")
    elif lie == "tar-symlink":
        _add(tar, "way", kind=tarfile.SYMTYPE, link=os.path.dirname(canary))
        _add(tar, "way/" + os.path.basename(canary), data=b"out")
    elif lie == "tar-symlink-dots":
        _add(tar, "way", kind=tarfile.SYMTYPE, link=os.path.dirname(up))
        _add(tar, "way/" + os.path.basename(canary), data=b"out")
    elif lie == "tar-hardlink":
        _add(tar, "way", kind=tarfile.LNKTYPE, link=canary)
        _add(tar, "way", data=b"out")
    elif lie == "tar-whiteout":
        _add(tar, os.path.dirname(up) + "/.wh." + os.path.basename(canary))


def _add(tar, name, kind=tarfile.REGTYPE, link="", data=b""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(data)
    tar.addfile(member, io.BytesIO(data))


def _tar(lie, canary):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _hostile(tar, lie, canary)
        for i in range(40):
            member = tarfile.TarInfo(f"file{i}")
            member.size = 4096
            # Not compressible, so that a part of the layer is a part of what it holds.
            tar.addfile(member, io.BytesIO(b"".join(hashlib.sha256(b"%d %d" % (i, j)).digest() for j in range(128))))
    return out.getvalue()


def _large_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, "large", data=random.Random(1).randbytes(70 << 20))
    return out.getvalue()


@functools.cache
def image(lie, canary):
    return Image(lie, canary)


class Image:
    """The blobs of one image, with the lie worked in."""

    def __init__(self, lie, canary="/nowhere"):
        tar = b"this is no archive" * 100 if lie == "no-archive" else _tar(lie, canary)
        if lie == "large":  # for ranges, and too large to be compressed for each test
            tar = _large_tar()
        self.layer = b"this is not gzip" * 100 if lie == "no-gzip" else gzip.compress(tar, 0 if lie == "large" else 9, mtime=0)
        diff_id = digest(b"something else") if lie == "wrong-diff-id" else digest(tar)
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        if lie == "layer-count":
            config["rootfs"]["diff_ids"].append(digest(b"another"))
        self.config = b"{\"rootfs\": [" if lie == "broken-config" else json.dumps(config).encode()
        entry = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(self.layer), "size": len(self.layer)}
        if lie == "wrong-size":
            entry["size"] += 7
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [entry],
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(self.config),
                               "size": len(self.config)}}
        self.manifest = json.dumps(manifest).encode()
        if lie == "html":
            self.manifest = b"<html>log in</html>"
        elif lie == "deep":
            self.manifest = b'{"layers": ' + b"[" * 1_000_000
        elif lie == "large-manifest":
            self.manifest += b" " * (5 << 20)
        elif lie == "schema-1":
            self.manifest = b'{"schemaVersion": 1, "name": "a", "tag": "1", "fsLayers": []}'
        elif lie == "helm-chart":
            self.manifest = self.manifest.replace(b"oci.image.config.v1", b"cncf.helm.config.v1")
        elif lie == "encrypted":
            self.manifest = self.manifest.replace(b"tar+gzip", b"tar+gzip+encrypted")
        elif lie == "foreign-type":
            self.manifest = self.manifest.replace(b"layer.v1.tar", b"layer.nondistributable.v1.tar")
        self.layer_digest = digest(self.layer)
        self.blobs = {self.layer_digest: self.layer, digest(self.config): self.config}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/octet-stream", length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    do_HEAD = lambda self: self.do_GET()

    def endless(self, status, headers=False, body=b""):
        """Until the client hangs up."""
        self.close_connection = True
        self.send_response(status)
        if headers:
            self.flush_headers()
            while True:
                self.wfile.write(b"X-More: and more\r\n")
        self.end_headers()
        self.wfile.write(body)
        while True:
            self.wfile.write(b"x" * 65536)

    def drip(self, body):
        """Slower than anyone should wait for."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.1)

    def part(self, blob, asked, shift):
        """What the Range header asks for, or what stands `shift` bytes before it."""
        first, _, last = asked.removeprefix("bytes=").partition("-")
        first, last = int(first) - shift, int(last or len(blob) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(blob)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(memoryview(blob)[first:last + 1])

    def redirect(self, location):
        self.send_response(307)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def refuse(self, status, code, *headers):
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return self.answer(200, b"{}", "application/json")
        lie, what, which = parts[1], parts[2], parts[3]
        self.server.asked.append((lie, what))
        if what == "blobs":
            self.server.blobs.append(which)
        if self.server.honest:
            lie = "good"
        asked_for = image(lie, self.server.canary)
        is_layer = which == asked_for.layer_digest
        if self.lie_about_all(lie, what, is_layer):
            return None
        if what == "manifests":
            return self.answer(200, asked_for.manifest, SCHEMA_1 if lie == "schema-1" else MANIFEST)
        blob = asked_for.blobs.get(which)
        if blob is None or (lie == "missing-layer" and is_layer):
            return self.refuse(404, "BLOB_UNKNOWN")
        return self.lie_about_layer(lie, blob) if is_layer else self.lie_about_config(lie, blob)

    def lie_about_all(self, lie, what, is_layer):
        """Whether that was the answer."""
        if lie == "error-500" or (lie == "layer-500" and is_layer):
            self.refuse(500, "UNKNOWN")
        elif lie == "denied":
            self.refuse(403, "DENIED")
        elif lie == "storm" or (lie == "layer-storm" and is_layer):
            self.refuse(429, "TOOMANYREQUESTS")
        elif lie == "long-rest":
            self.refuse(429, "TOOMANYREQUESTS", ("Retry-After", "86400"))
        elif lie == "endless-headers":
            self.endless(200, headers=True)
        elif lie == "endless-manifest":
            self.endless(200)
        elif lie == "endless-refusal":
            self.endless(404)
        elif lie == "circle" or (lie == "layer-circle" and what == "blobs"):
            self.redirect(self.path)
        elif lie == "to-http":
            self.redirect(f"http://{self.server.plain}{self.path}")
        else:
            return False
        return True

    def lie_about_config(self, lie, blob):
        if lie == "wrong-config-digest":
            blob = blob.replace(b"amd64", b"amd65")
        return self.answer(200, blob)

    def lie_about_layer(self, lie, blob):
        asked = self.headers.get("Range")
        if asked and lie in ("wrong-range", "good", "cut-once", "large"):
            self.server.ranges.append(asked)
            return self.part(blob, asked, shift=5 if lie == "wrong-range" else 0)
        if lie == "wrong-digest":
            blob = blob[:-20] + bytes([blob[-20] ^ 1]) + blob[-19:]
        elif lie == "truncated" or (lie in ("wrong-range", "cut-once", "no-range") and not asked):
            return self.answer(200, blob[:len(blob) // 2], length=len(blob))
        elif lie == "short":
            blob = blob[:len(blob) // 2]
        elif lie == "long":
            blob += b"more"
        elif lie == "endless-layer":
            return self.endless(200, body=blob)
        elif lie == "loris":
            return self.drip(blob)
        elif lie == "stuck":
            self.answer(200, blob[:1000], length=len(blob))
            self.wfile.flush()
            self.server.release.wait(60)
            return None
        return self.answer(200, blob)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is what the lies are for."""


class LyingRegistry:
    """On loopback, or another address of this host; over TLS with the files of a certificate and its key."""

    _held = []  # sockets at the addresses of those that ended

    def __init__(self, tls=None, canary="/nowhere", address="127.0.0.1"):
        self.tls, self.canary, self.host = tls, canary, address

    def __enter__(self):
        self.server = Server((self.host, 0), Handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.daemon_threads = True
        self.server.asked, self.server.blobs, self.server.ranges = [], [], []
        self.server.honest, self.server.canary, self.server.plain = False, self.canary, None
        self.server.release = threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"{self.host}:{self.server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self.server.release.set()
        self.server.shutdown()
        self.server.server_close()
        if not self.host.startswith("127."):
            return  # the address goes with its interface
        # A daemon that was asked to wait shuns it for minutes: bound as long as the program runs, it is nobody else's.
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(self.server.server_address)
        self._held.append(held)
