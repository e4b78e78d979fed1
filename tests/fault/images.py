"""Images for the power cuts, and a registry that serves them as slowly as it is told to. Layers are shared, of many files
and of few, and have what an unpacked layer can lose: owners, modes, attributes, links, whiteouts, implied parents."""
import gzip
import hashlib
import http.server
import io
import json
import random
import tarfile
import threading
import time

MEDIA = "application/vnd.oci.image."
CHUNK = 64 << 10


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """A tar archive in the making. Half of a file's content compresses."""

    def __init__(self, name):
        self.random, self.buffer, self.time = random.Random(name), io.BytesIO(), 1_600_000_000
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, size=0, kind=tarfile.REGTYPE, mode=0o644, owner=(0, 0), link="", xattrs=()):
        member = tarfile.TarInfo(name)
        self.time += 1
        member.type, member.mode, member.linkname, member.size, member.mtime = kind, mode, link, size, self.time
        member.uid, member.gid = owner
        member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs}
        part = self.random.randbytes((size + 1) // 2)
        self.tar.addfile(member, io.BytesIO((part + part[::-1].hex().encode())[:size]) if size else None)
        return self

    def files(self, directory, count, largest):
        for i in range(count):
            self.add(f"{directory}/f{i}", self.random.randrange(largest), owner=(i % 3 * 1000, i % 2 * 50))
        return self

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def _base():
    layer = Layer("base").add("etc", kind=tarfile.DIRTYPE, mode=0o755).add("tmp", kind=tarfile.DIRTYPE, mode=0o1777)
    layer.add("home", kind=tarfile.DIRTYPE, mode=0o755).add("home/u", kind=tarfile.DIRTYPE, mode=0o700, owner=(1000, 1000))
    for i in range(20):
        layer.add(f"usr{i}", kind=tarfile.DIRTYPE, mode=0o755).files(f"usr{i}", 20, 20_000)
    layer.add("usr0/large", 6 << 20).add("usr0/hard", kind=tarfile.LNKTYPE, link="usr0/large")
    layer.add("usr0/set-user", 5000, mode=0o4755, xattrs=[("user.berth", "kept")])
    layer.add("usr0/link", kind=tarfile.SYMTYPE, mode=0o777, link="../etc").add("usr0/pipe", kind=tarfile.FIFOTYPE)
    return layer.add("etc/empty").add("etc/old", 3000).bytes()


def _over():
    """Over the base: whiteouts, a directory that is only implied, one that is replaced, and files of some size."""
    layer = Layer("over").add("etc/.wh.old").add("usr1/.wh..wh..opq").add("usr1/only", 100)
    layer.add("home/u/implied", 1000, owner=(1000, 1000))
    for i in range(3):
        layer.add(f"usr2/data{i}", 2 << 20)
    return layer.bytes()


def _large():
    return Layer("large").add("data", kind=tarfile.DIRTYPE, mode=0o750).add("data/table", 12 << 20, mode=0o600, owner=(70, 70)).bytes()


def _small():
    layer = Layer("small")
    for i in range(10):
        layer.files(f"opt/s{i}", 30, 6000)
    return layer.bytes()


class Image:
    def __init__(self, *layers):
        blobs = [gzip.compress(layer, 1, mtime=0) for layer in layers]
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"]},
                             "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}).encode()
        entries = [{"mediaType": MEDIA + "layer.v1.tar+gzip", "digest": digest(blob), "size": len(blob)} for blob in blobs]
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "layers": entries, "config": {
            "mediaType": MEDIA + "config.v1+json", "digest": digest(config), "size": len(config)}}).encode()
        self.blobs = {digest(blob): blob for blob in [config, *blobs]}
        self.id = digest(config)


def make_images():
    """PATH:TAG -> Image. `many:2` is `many:1` once more."""
    base, over, large, small = _base(), _over(), _large(), _small()
    many = Image(base, over, large)
    return {"base:1": Image(base), "two:1": Image(base, over), "many:1": many, "many:2": many, "small:1": Image(small),
            "other:1": Image(small, large)}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 200 and body:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body), CHUNK):
            self.wfile.write(body[at:at + CHUNK])
            if self.server.rate:
                time.sleep(CHUNK / self.server.rate)

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) < 4:
            return self._answer(200, b"{}", "application/json")
        _, name, what, which = parts
        images = [i for ref, i in self.server.images.items() if ref.split(":")[0] == name]
        if what == "manifests":
            found = self.server.images.get(f"{name}:{which}") or next((i for i in images if digest(i.manifest) == which), None)
            body, kind = found and found.manifest, MEDIA + "manifest.v1+json"
        else:
            body, kind = next((i.blobs[which] for i in images if which in i.blobs), None), "application/octet-stream"
        if body is None:
            return self._answer(404, b'{"errors": [{"code": "NOT_FOUND"}]}', "application/json")
        return self._answer(200, body, kind)

    do_HEAD = do_GET


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that hangs up is one that was cut off."""


class SlowRegistry:
    """On a free port of loopback. `rate`: bytes a second of each answer; 0: as fast as it goes."""

    def __init__(self, images):
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.images, self.server.rate = images, 0
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def set_rate(self, rate):
        self.server.rate = rate

    def ref(self, name):
        return f"{self.address}/{name}"
