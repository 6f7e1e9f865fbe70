"""A web server and a mail server that keep what they are sent, for one test each."""

import contextlib
import json
import socketserver
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serving(server):
    """A server that runs in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def web_server(*, code=200, location=None, delay_s=0.0):
    """A web server on this machine; its `got` is (path, headers, document) of every POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.got.append((self.path, dict(self.headers), json.loads(body)))
            time.sleep(delay_s)
            with contextlib.suppress(OSError):  # who asked may have gone
                self.send_response(code)
                if location is not None:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def do_GET(self):
            self.server.got.append((self.path, dict(self.headers), None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield server


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as one letter needs."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.say("220 here")
        letter, secure = None, False
        while line := self.rfile.readline():
            word = line.decode().strip()
            verb = word.upper().split(" ")[0]
            self.server.heard.append((word, secure))
            if verb == "EHLO":
                offers = ["here", "AUTH PLAIN"]
                offers += ["STARTTLS"] if self.server.context and not secure else []
                for offer in offers[:-1]:
                    self.say(f"250-{offer}")
                self.say(f"250 {offers[-1]}")
            elif verb == "STARTTLS":
                self.say("220 go on")
                try:
                    wrapped = self.server.context.wrap_socket(self.connection, server_side=True)
                except OSError:
                    return
                self.connection, secure = wrapped, True
                self.rfile, self.wfile = wrapped.makefile("rb"), wrapped.makefile("wb", 0)
            elif verb == "AUTH":
                self.say("235 welcome")
            elif verb == "RCPT" and self.server.refuses:
                self.say("550 nobody of that name")
            elif verb == "DATA":
                self.say("354 go on")
                letter = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    letter += part
                self.server.letters.append(letter)
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 yes")


@contextlib.contextmanager
def mail_server(*, context=None, refuses=False):
    """A mail server on this machine; its `letters` are all that it took, as bytes."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.daemon_threads = True
    server.letters, server.heard, server.context, server.refuses = [], [], context, refuses
    server.port = server.server_address[1]
    with serving(server):
        yield server


def certificate(folder):
    """A certificate for localhost that only who is told so trusts, and a server's context."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context
