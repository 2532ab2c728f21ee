"""The reading half of a WebSocket (RFC 6455), enough to be a page that looks at a console."""

import base64
import os
import socket
import struct
from urllib.parse import urlsplit


class WebSocket:
    """Connects at once. `read` gives the next binary message."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), 30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nX-Pumice-User: bench\r\n\r\n").encode())
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        head, _, self.bytes = self.bytes.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(head.decode(errors="replace"))

    def more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError
        self.bytes += piece

    def take(self, count):
        while len(self.bytes) < count:
            self.more()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def read(self):
        while True:
            first, length = self.take(2)
            if length == 126:
                (length,) = struct.unpack(">H", self.take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.take(8))
            body = self.take(length)
            # What is no binary message is a ping, or the end.
            if first & 15 == 2:
                return body
            if first & 15 == 8:
                raise EOFError

    def close(self):
        self.socket.close()
