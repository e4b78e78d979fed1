"""What a test does to a repository of a registry by its HTTP interface."""
import hashlib
import json
import urllib.request

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data, kind, **more):
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


class Repository:
    def __init__(self, address, name):
        self.base = f"http://{address}/v2/{name}"

    def _send(self, method, url, data=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.read(), answer.headers

    def manifest(self, reference):
        """(bytes, media type)"""
        data, headers = self._send("GET", f"{self.base}/manifests/{reference}", Accept=f"{OCI_MANIFEST}, {OCI_INDEX}")
        return data, headers["Content-Type"]

    def blob(self, name):
        return self._send("GET", f"{self.base}/blobs/{name}")[0]

    def put_blob(self, data, kind="application/octet-stream", **more):
        """Its descriptor, as a manifest has it."""
        place = self._send("POST", f"{self.base}/blobs/uploads/", b"")[1]["Location"]
        joint = "&" if "?" in place else "?"
        self._send("PUT", f"{place}{joint}digest={digest(data)}", data, Content_Type="application/octet-stream")
        return descriptor(data, kind, **more)

    def put_manifest(self, reference, content, kind=OCI_MANIFEST):
        """`content` is bytes, or becomes JSON. Its digest."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self._send("PUT", f"{self.base}/manifests/{reference}", data, Content_Type=kind)
        return digest(data)
