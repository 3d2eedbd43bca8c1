"""A WebSocket echo that breaks the rules: the Autobahn run must fail on it, or its passes prove nothing.

It ignores reserved bits, never answers a ping, and takes any close code. Prints its address, then serves for ever.
"""

import base64
import hashlib
import socket
import struct
import threading


def exactly(peer, count):
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def upgrade(peer):
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(4096)
    fields = (line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    key = {name.lower(): value for name, value in fields}[b"sec-websocket-key"].strip()
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    peer.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def length_of(payload):
    size = len(payload)
    if size < 126:
        return bytes([size])
    if size < 65536:
        return b"\x7e" + struct.pack(">H", size)
    return b"\x7f" + struct.pack(">Q", size)


def serve(peer):
    try:
        upgrade(peer)
        while True:
            first, second = exactly(peer, 2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack(">H", exactly(peer, 2))
            elif size == 127:
                (size,) = struct.unpack(">Q", exactly(peer, 8))
            mask = exactly(peer, 4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(exactly(peer, size)))
            opcode = first & 15
            if opcode in (9, 10):
                continue
            peer.sendall(bytes([first & 0x8F]) + length_of(payload) + payload)
            if opcode == 8:
                return
    except (OSError, KeyError):
        pass
    finally:
        peer.close()


listener = socket.create_server(("127.0.0.1", 0))
print("%s:%d" % listener.getsockname(), flush=True)
while True:
    peer, _ = listener.accept()
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
