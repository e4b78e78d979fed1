"""A registry that lies. What it does wrong is the name of the repository that is asked for; `good` is served rightly."""
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(40):
            member = tarfile.TarInfo(f"file{i}")
            member.size = 4096
            # Not compressible, so that a part of the layer is a part of what it holds.
            tar.addfile(member, io.BytesIO(b"".join(hashlib.sha256(b"%d %d" % (i, j)).digest() for j in range(128))))
    return out.getvalue()


class Image:
    """The blobs of one image, with the lie worked in."""

    def __init__(self, lie):
        tar = b"this is no archive" * 100 if lie == "no-archive" else _tar()
        self.layer = b"this is not gzip" * 100 if lie == "no-gzip" else gzip.compress(tar, mtime=0)
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
        self.manifest = b"<html>log in</html>" if lie == "html" else json.dumps(manifest).encode()
        self.blobs = {digest(self.layer): self.layer, digest(self.config): self.config}


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

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return self.answer(200, b"{}", "application/json")
        lie, what, which = parts[1], parts[2], parts[3]
        self.server.asked.append((lie, what))
        image = Image(lie)
        if lie == "error-500" or (lie == "layer-500" and what == "blobs" and which == digest(image.layer)):
            return self.answer(500, b'{"errors": [{"code": "UNKNOWN", "message": "disk on fire"}]}', "application/json")
        if lie == "denied":
            return self.answer(403, b'{"errors": [{"code": "DENIED", "message": "not for you"}]}', "application/json")
        if what == "manifests":
            return self.answer(200, image.manifest, MANIFEST)
        blob = image.blobs.get(which)
        is_layer = blob == image.layer
        if blob is None or (lie == "missing-layer" and is_layer):
            return self.answer(404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}', "application/json")
        if lie == "wrong-digest" and is_layer:
            blob = blob[:-20] + bytes([blob[-20] ^ 1]) + blob[-19:]
        if lie == "wrong-config-digest" and not is_layer:
            blob = blob.replace(b"amd64", b"amd65")
        if lie == "truncated" and is_layer:
            return self.answer(200, blob[:len(blob) // 2], length=len(blob))
        if lie == "short" and is_layer:
            blob = blob[:len(blob) // 2]
        if lie == "long" and is_layer:
            blob += b"more"
        return self.answer(200, blob)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is what the lies are for."""


class LyingRegistry:
    def __enter__(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.asked = []
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
