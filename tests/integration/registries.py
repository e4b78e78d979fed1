"""Debian's docker-registry with authentication, the token service that it trusts, certificates for TLS, and a proxy: the
surroundings in which a node pulls images."""
import base64
import concurrent.futures
import contextlib
import ctypes
import http.server
import json
import os
import pathlib
import select
import socket
import subprocess
import threading
import time
import urllib.parse

from suite import need_programs, wait_for

CLONE_NEWNET = 0x40000000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(handler, address=("127.0.0.1", 0), **attributes):
    """A threading HTTP server of that handler, already at work."""
    server = http.server.ThreadingHTTPServer(address, handler)
    server.daemon_threads = True
    for name, value in attributes.items():
        setattr(server, name, value)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def certificate(directory, name, *hosts):
    """(certificate, key): signed by itself, so that it is its own authority."""
    need_programs("openssl")
    cert, key = f"{directory}/{name}.crt", f"{directory}/{name}.pem"
    names = ",".join(f"{'IP' if h.replace('.', '').isdigit() else 'DNS'}:{h}" for h in hosts)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                    f"subjectAltName={names or 'DNS:none'}", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class DockerRegistry:
    """docker-registry in `directory` with the `auth` and `http` parts of its configuration."""

    def __init__(self, directory, auth=None, tls=None, clients=None):
        """`tls`: certificate and key; `clients`: the certificate of those who may come."""
        need_programs("docker-registry", "skopeo")
        self.address = f"127.0.0.1:{free_port()}"
        self.scheme = "https" if tls else "http"
        os.makedirs(directory)
        config = {"version": 0.1, "log": {"accesslog": {"disabled": True}}, "storage": {"filesystem": {"rootdirectory": f"{directory}/data"}},
                  "http": {"addr": self.address}}
        if auth:
            config["auth"] = auth
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1], **({"clientcas": [clients]} if clients else {})}
        # JSON is YAML.
        pathlib.Path(f"{directory}/config.yml").write_text(json.dumps(config), encoding="utf-8")
        with open(f"{directory}/log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", f"{directory}/config.yml"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        wait_for(f"docker-registry in {directory}", self._listens)

    def _listens(self):
        assert self.process.poll() is None, "docker-registry ended"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def push(self, layout, image, credentials=None):
        """Its reference there."""
        ref = f"{self.address}/{image}"
        subprocess.run(["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
                        *(["--dest-creds", credentials] if credentials else []), f"oci:{layout}:{image}", f"docker://{ref}"], check=True)
        return ref

    def stop(self):
        self.process.kill()
        self.process.wait()


def password_file(path, user, password):
    need_programs("htpasswd")
    subprocess.run(["htpasswd", "-Bbc", path, user, password], check=True, capture_output=True)
    return {"htpasswd": {"realm": "test", "path": path}}


class TokenService:
    """Signs tokens that docker-registry accepts, for one user by password, by refresh token, or for what anybody may."""

    def __init__(self, directory, user, password, refresh_token):
        self.directory, self.user, self.password, self.refresh_token = directory, user, password, refresh_token
        self.cert, self.key = certificate(directory, "token-service")
        self.asked = []
        self.server = serve(TokenHandler, service=self)
        self.realm = f"http://127.0.0.1:{self.server.server_address[1]}/token"

    def registry_auth(self):
        """What docker-registry is told."""
        return {"token": {"realm": self.realm, "service": "test-registry", "issuer": "test-issuer", "rootcertbundle": self.cert}}

    def token(self, scopes):
        """A JSON web token for the scopes ("repository:name:pull,push")."""
        access = [{"type": kind, "name": name, "actions": actions.split(",")} for kind, name, actions in (s.split(":") for s in scopes)]
        der = subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], check=True, capture_output=True).stdout
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "test-issuer", "sub": self.user, "aud": "test-registry", "exp": now + 300, "nbf": now - 10, "iat": now - 10,
                  "jti": str(now), "access": access}
        text = b".".join(_b64url(json.dumps(part).encode()) for part in (head, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text, check=True, capture_output=True).stdout
        return (text + b"." + _b64url(signature)).decode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def _b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class TokenHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def give(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        service = self.server.service
        scopes = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get("scope", [])
        sent = self.headers.get("Authorization")
        service.asked.append(("GET", bool(sent), scopes))
        if sent != "Basic " + base64.b64encode(f"{service.user}:{service.password}".encode()).decode():
            return self.give(401, {"details": "who are you"})
        return self.give(200, {"token": service.token(scopes), "expires_in": 300})

    def do_POST(self):
        service = self.server.service
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        scopes = form.get("scope", [""])[0].split()
        service.asked.append(("POST", False, scopes))
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [service.refresh_token]:
            return self.give(401, {"details": "not that token"})
        return self.give(200, {"access_token": service.token(scopes)})


# -- a network that can be reached through a proxy only


class HiddenNetwork:
    """A network namespace whose loopback has the address `address`, which this host has no route to."""

    address = "198.51.100.7"

    def __enter__(self):
        need_programs("ip")
        self.name = f"berth-it-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for command in (["link", "set", "lo", "up"], ["addr", "add", f"{self.address}/32", "dev", "lo"]):
            subprocess.run(["ip", "-n", self.name, *command], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def inside(self, call):
        """What `call` returns in a thread that is in the namespace."""
        def run():
            with open(f"/run/netns/{self.name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return call()

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    """GET with a whole URL, and CONNECT, into a hidden network."""

    def log_message(self, *_):
        pass

    @contextlib.contextmanager
    def _dial(self, host, port):
        try:
            far = self.server.network.inside(lambda: socket.create_connection((host, port), 5))
        except OSError as error:
            self.send_error(502, str(error))
            far = None
        yield far
        if far:
            far.close()
        self.close_connection = True

    def do_CONNECT(self):
        self.server.asked.append(("CONNECT", self.path, self.headers.get("Proxy-Authorization")))
        host, _, port = self.path.rpartition(":")
        with self._dial(host, int(port)) as far:
            if far:
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                _join(self.connection, far)

    def do_GET(self):
        self.server.asked.append(("GET", self.path, self.headers.get("Proxy-Authorization")))
        url = urllib.parse.urlparse(self.path)
        with self._dial(url.hostname, url.port or 80) as far:
            if not far:
                return
            lines = [f"GET {url.path}{'?' + url.query if url.query else ''} HTTP/1.1", f"Host: {url.netloc}", "Connection: close"]
            lines += [f"{k}: {v}" for k, v in self.headers.items() if not k.lower().startswith(("proxy", "host", "connection"))]
            far.sendall("\r\n".join([*lines, "", ""]).encode())
            while data := far.recv(65536):
                self.wfile.write(data)


def _join(one, other):
    """Carries bytes both ways until one side has enough."""
    with contextlib.suppress(OSError):
        while True:
            for ready in select.select([one, other], [], [])[0]:
                data = ready.recv(65536)
                if not data:
                    return
                (other if ready is one else one).sendall(data)


def proxy_into(network):
    """A proxy on this host's loopback whose far side is in that network; `asked` has what went through."""
    return serve(ProxyHandler, network=network, asked=[])
