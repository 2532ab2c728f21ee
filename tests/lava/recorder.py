"""A proxy before LAVA's server that writes down what a worker asks and what it is answered."""

import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Recorder:
    def __init__(self, target):
        self.exchange = []
        address = urllib.parse.urlsplit(target).netloc
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                connection = http.client.HTTPConnection(address, timeout=600)
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                text = answer.read()
                recorder.exchange.append({
                    "method": self.command,
                    "path": self.path,
                    "token": self.headers.get("LAVA-Token"),
                    "form": dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)),
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

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def write(self, file):
        """An exchange a line; pings that brought nothing but the first stand for all of their kind."""
        lines, seen = [], set()
        for exchange in self.exchange:
            line = json.dumps(exchange, sort_keys=True)
            if exchange["path"].startswith("/scheduler/internal/v1/workers/") and line in seen:
                continue
            seen.add(line)
            lines.append(line)
        file.write_text("\n".join(lines) + "\n")

    def close(self):
        self.server.shutdown()
