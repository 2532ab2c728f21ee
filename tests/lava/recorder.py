"""Proxies that write down what a worker asks of LAVA's server and of its lab, and what it is answered."""

import gzip
import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Recorder:
    """The exchange, in the order in which it was answered."""

    def __init__(self):
        self.exchange = []
        self.lock = threading.Lock()
        self.servers = []

    def before(self, name, target):
        """The address of a proxy before a server."""
        address = urllib.parse.urlsplit(target).netloc
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                dropped = ("host", "connection", "accept-encoding")
                headers = {key: value for key, value in self.headers.items() if key.lower() not in dropped}
                connection = http.client.HTTPConnection(address, timeout=600)
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                text = answer.read()
                with recorder.lock:
                    recorder.exchange.append({
                        "to": name,
                        "method": self.command,
                        "path": self.path,
                        "token": self.headers.get("LAVA-Token"),
                        "range": self.headers.get("Range"),
                        "body": body.decode(),
                        "status": answer.status,
                        "answer": text.decode(),
                    })
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type") or "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = pass_on

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    def write(self, file):
        """A line an exchange, packed."""
        lines = "".join(json.dumps(exchange, sort_keys=True, ensure_ascii=False) + "\n" for exchange in self.exchange)
        with gzip.GzipFile(file, "wb", mtime=0) as packed:
            packed.write(lines.encode())

    def close(self):
        for server in self.servers:
            server.shutdown()
