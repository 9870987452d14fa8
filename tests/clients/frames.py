#!/usr/bin/env python3
"""Frames on Codex's socket, right ones and wrong ones, sent by a client that shares no code with the pool.

    cargo build -p codex-pool -p pool-testkit
    tests/clients/frames.py                 every case
    tests/clients/frames.py --only ping     those with the word in their name

Starts its own fake-upstream and its own codex-pool. Sound frames are made, and all frames are read, by the Python library
`websockets`, whose protocol stands apart from its I/O; broken frames are made by hand. A line a case; leaves with 1 if any
failed. The closing codes are those of RFC 6455, §7.4.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import socket
import struct
import sys
import tempfile
import time
import traceback
from typing import Callable

import run
import scenarios

try:
    from websockets.client import ClientProtocol
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    from websockets.frames import Frame, Opcode
    from websockets.uri import parse_uri
except ImportError:
    # It is installed with the clients.
    python = run.clients_folder() / "py/bin/python"
    if pathlib.Path(sys.executable).resolve() == python.resolve() and sys.prefix != sys.base_prefix:
        raise
    os.execv(python, [str(python), *sys.argv])

MIB = 1 << 20
# The pool's settings in this run.
MESSAGE_CAP = 24 * MIB
HEAD_SECONDS = 2
STALL_SECONDS = 2
PING_SECONDS = 1
PATIENCE = 20.0

HEADERS = {
    "user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)",
    "originator": "codex_exec",
    "openai-beta": "responses_websockets=2026-02-06",
}


@dataclasses.dataclass
class Ground:
    """What the cases run against."""

    port: int
    fake: scenarios.Fake


def raw(first: int, payload: bytes = b"", masked: bool = True, length: bytes | None = None) -> bytes:
    """A frame by hand. `first`: its first byte (0x80 = final, 0x70 = reserved, 0x0f = opcode); `length`: in place of the true one."""
    if length is None:
        size = len(payload)
        if size < 126:
            length = bytes([size])
        else:
            length = b"\x7e" + struct.pack("!H", size) if size < 1 << 16 else b"\x7f" + struct.pack("!Q", size)
    if not masked:
        return bytes([first]) + length + payload
    # A mask of zeros changes nothing, and is one.
    return bytes([first, length[0] | 0x80]) + length[1:] + bytes(4) + payload


class Peer:
    """One socket. Sends what it is told, and reads with the library, which answers pings and closes by itself."""

    def __init__(self, ground: Ground, conversation: str = "frames", one_by_one: bool = False) -> None:
        self.sock = socket.create_connection(("127.0.0.1", ground.port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.one_by_one = one_by_one
        self.answers = True
        self.protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{ground.port}/v1/responses"),
            extensions=[ClientPerMessageDeflateFactory()],
            max_size=64 * MIB,
        )
        request = self.protocol.connect()
        for name, value in {**HEADERS, "session-id": conversation, "thread-id": conversation}.items():
            request.headers[name] = value
        self.protocol.send_request(request)
        self.frames: list[Frame] = []
        self.response = None
        self.push()
        while self.response is None:
            self.pull()
        assert self.protocol.handshake_exc is None, self.protocol.handshake_exc

    def push(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.send(data)

    def send(self, data: bytes) -> None:
        for piece in [data[at : at + 1] for at in range(len(data))] if self.one_by_one else [data]:
            self.sock.sendall(piece)

    def pull(self) -> bool:
        """Reads once. False: the connection has ended."""
        data = self.sock.recv(1 << 16)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.frames.append(event)
            else:
                self.response = event
        if self.answers:
            with contextlib.suppress(OSError):
                self.push()
        return bool(data)

    def next_text(self) -> dict:
        """The next whole message."""
        text = b""
        while True:
            for number, frame in enumerate(self.frames):
                if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                    del self.frames[number]
                    text += bytes(frame.data)
                    if frame.fin:
                        return json.loads(text)
                    break
            else:
                assert self.pull(), f"the connection ended, close code {self.code()}"

    def turn(self) -> list[dict]:
        """Everything up to the end of a turn."""
        events = []
        while not events or events[-1]["type"] not in ("response.completed", "response.failed", "error"):
            events.append(self.next_text())
        return events

    def pong(self) -> bytes:
        """What the next pong carries."""
        while True:
            for number, frame in enumerate(self.frames):
                if frame.opcode is Opcode.PONG:
                    del self.frames[number]
                    return bytes(frame.data)
            assert self.pull(), f"the connection ended, close code {self.code()}"

    def code(self) -> int | None:
        """The close code that has come; 1005 if it was a close without one, None if none has come."""
        if self.protocol.close_rcvd is None:
            return 1005 if any(frame.opcode is Opcode.CLOSE for frame in self.frames) else None
        return int(self.protocol.close_rcvd.code)

    def end(self) -> tuple[int | None, float]:
        """Waits for the end of the connection: the close code, and how long it took."""
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while self.pull():
                pass
        return self.code(), time.monotonic() - begun

    def close(self) -> None:
        self.sock.close()


def create(says: str = "hello") -> bytes:
    """A turn as Codex asks for it."""
    says_so = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": says}]}]
    message = {"type": "response.create", "model": "gpt-6.1-sol", "stream": True, "store": False}
    message |= {"instructions": "be brief", "input": says_so}
    return json.dumps(message, ensure_ascii=False).encode()


def arrived(ground: Ground, message: bytes) -> None:
    """The message has come to upstream, byte for byte."""
    digest = hashlib.sha256(message).hexdigest()
    log = ground.fake.order("books")["log"]
    assert any(one["body_sha256"] == digest for one in log), f"{len(message)} bytes did not arrive as they were sent"


def completes(peer: Peer) -> None:
    last = peer.turn()[-1]
    assert last["type"] == "response.completed", last


def works(peer: Peer, ground: Ground) -> None:
    """A turn goes well on it."""
    message = create("still there?")
    peer.send(raw(0x81, message))
    completes(peer)
    arrived(ground, message)


CASES: dict[str, Callable[[Ground], str | None]] = {}


def case(name: str) -> Callable:
    def add(check: Callable[[Ground], str | None]) -> Callable[[Ground], str | None]:
        CASES[name] = check
        return check

    return add


# What must work


@case("permessage-deflate is offered and declined")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    assert peer.protocol.extensions == [], peer.protocol.extensions
    assert "sec-websocket-extensions" not in peer.response.headers
    works(peer, ground)


@case("a message in fragments, with pings between them")
def _(ground: Ground) -> str:
    message = create("fragments of a ☃ and of 日本語")
    peer = Peer(ground)
    pieces = [message[at : at + 5] for at in range(0, len(message), 5)]
    for number, piece in enumerate(pieces):
        last = number + 1 == len(pieces)
        if number == 0:
            peer.protocol.send_text(piece, fin=last)
        else:
            peer.protocol.send_continuation(piece, fin=last)
        peer.protocol.send_ping(f"between {number}".encode())
        peer.push()
    # Only the last of several pings has to be answered (§5.5.3).
    while peer.pong() != f"between {len(pieces) - 1}".encode():
        pass
    completes(peer)
    arrived(ground, message)
    return f"{len(pieces)} fragments"


@case("empty fragments, and a character cut in two")
def _(ground: Ground) -> None:
    message = create("☃")
    cut = message.index("☃".encode()) + 1
    peer = Peer(ground)
    for first, payload in [(0x01, b""), (0x00, message[:cut]), (0x00, b""), (0x00, message[cut:]), (0x80, b"")]:
        peer.send(raw(first, payload))
    completes(peer)
    arrived(ground, message)


@case("a byte at a time")
def _(ground: Ground) -> None:
    works(Peer(ground, one_by_one=True), ground)


@case("several frames in one piece")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    messages = [create(f"number {number}") for number in range(3)]
    peer.send(b"".join(raw(0x81, message) for message in messages) + raw(0x89, b"x"))
    for message in messages:
        completes(peer)
        arrived(ground, message)
    assert peer.pong() == b"x"


@case("a message of 20 MB, whole and in fragments")
def _(ground: Ground) -> None:
    message = create("twenty million bytes " * 1_000_000)
    peer = Peer(ground)
    peer.protocol.send_text(message)
    peer.push()
    completes(peer)
    arrived(ground, message)
    message = create("twenty million others " * 1_000_000)
    pieces = [message[at : at + (64 << 10)] for at in range(0, len(message), 64 << 10)]
    for number, piece in enumerate(pieces):
        peer.send(raw((number + 1 == len(pieces)) << 7 | (number == 0), piece))
    completes(peer)
    arrived(ground, message)


@case("pings of every size are answered with what they carry")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    for size in [0, 1, 60, 124, 125]:
        payload = os.urandom(size)
        peer.protocol.send_ping(payload)
        peer.push()
        while (pong := peer.pong()) != payload:
            assert pong == b"", pong
    works(peer, ground)


@case("pongs that nobody asked for mean nothing")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    for payload in [b"", b"unasked", bytes(125)]:
        peer.protocol.send_pong(payload)
        peer.push()
    works(peer, ground)


@case("binary, empty and unknown messages harm nobody")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    for first, payload in [(0x82, b"\x00\xff binary"), (0x81, b""), (0x81, b'{"type":"fake.unknown"}'), (0x82, b"")]:
        peer.send(raw(first, payload))
        error = peer.next_text()
        assert error["type"] == "error" and error["error"]["code"] == "invalid_message", error
    works(peer, ground)


# Closing


def closing(payload: bytes, expected: int) -> Callable[[Ground], str]:
    def check(ground: Ground) -> str:
        peer = Peer(ground)
        peer.send(raw(0x88, payload))
        code, seconds = peer.end()
        assert code == expected, f"closed with {code}"
        assert seconds < 3, f"the connection stayed for {seconds:.1f} s"
        return f"{seconds * 1000:.0f} ms"

    return check


for good in [1000, 1001, 1003, 1011, 3000, 3999, 4000, 4999]:
    case(f"close {good} is echoed")(closing(struct.pack("!H", good) + b"reason", good))
for bad in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535]:
    case(f"close {bad} is no code: 1002")(closing(struct.pack("!H", bad), 1002))
case("close without a code is answered without one")(closing(b"", 1005))
case("close of one byte: 1002")(closing(b"\x03", 1002))
case("close with a reason that is no UTF-8: 1007")(closing(struct.pack("!H", 1000) + b"\xff\xfe", 1007))


@case("a close in the middle of a turn frees upstream")
def _(ground: Ground) -> str:
    return leaves(ground, lambda peer: peer.send(raw(0x88, struct.pack("!H", 1000))))


@case("an abrupt end in the middle of a turn frees upstream")
def _(ground: Ground) -> str:
    def reset(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    return leaves(ground, reset)


def leaves(ground: Ground, leave: Callable[[Peer], None]) -> str:
    ground.fake.order("fault", fault="stall", times=1)
    peer = Peer(ground)
    message = create(f"leaving {time.monotonic()}")
    peer.send(raw(0x81, message))
    while peer.next_text()["type"] != "response.output_item.added":
        pass
    left = time.monotonic()
    leave(peer)
    digest = hashlib.sha256(message).hexdigest()
    while True:
        (turn,) = [one for one in ground.fake.order("books")["log"] if one["body_sha256"] == digest]
        if turn["ended"] == "peer_left":
            return f"{(time.monotonic() - left) * 1000:.0f} ms"
        assert time.monotonic() - left < 5, turn["ended"]
        time.sleep(0.02)


# What must not work


def breach(frames: bytes, expected: int) -> Callable[[Ground], str]:
    """The frames end the connection with this code, also for a client that reads nothing before it has sent them all."""

    def check(ground: Ground) -> str:
        peer = Peer(ground)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send(frames)
        code, seconds = peer.end()
        assert code == expected, f"closed with {code}"
        assert seconds < 8, f"the connection stayed for {seconds:.1f} s"
        return f"{seconds * 1000:.0f} ms"

    return check


TEXT = create()
for name, frames, code in [
    ("no UTF-8", raw(0x81, b'{"type":"\xff\xfe"}'), 1007),
    ("no UTF-8, in the second fragment", raw(0x01, b'{"type":"') + raw(0x80, b'\xc3\x28"}'), 1007),
    ("a character that does not end", raw(0x81, b"\xe2\x98"), 1007),
    ("a surrogate", raw(0x81, b"\xed\xa0\x80"), 1007),
    ("not masked", raw(0x81, TEXT, masked=False), 1002),
    ("a ping not masked", raw(0x89, b"x", masked=False), 1002),
    ("reserved bit 1", raw(0xC1, TEXT), 1002),
    ("reserved bit 2", raw(0xA1, TEXT), 1002),
    ("reserved bit 3", raw(0x91, TEXT), 1002),
    ("reserved bit on a ping", raw(0xC9, b"x"), 1002),
    *[(f"opcode {opcode:#x}", raw(0x80 | opcode, b"x"), 1002) for opcode in [3, 7, 0xB, 0xF]],
    ("a ping in fragments", raw(0x09, b"x"), 1002),
    ("a ping of 126 bytes", raw(0x89, bytes(126)), 1002),
    ("a continuation of nothing", raw(0x80, TEXT), 1002),
    ("a message within a message", raw(0x01, b"{") + raw(0x81, TEXT), 1002),
    ("an HTTP request", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 1002),
    ("a message too long", raw(0x81, b"x" * (MESSAGE_CAP + 1)), 1009),
    ("a message too long in fragments", raw(0x01, b"x" * MIB) + raw(0x00, b"x" * MIB) * 23 + raw(0x80, b"x"), 1009),
    ("a length beyond all reason", raw(0x81, b"x" * 1000, length=b"\x7f\x7f" + b"\xff" * 7), 1009),
]:
    case(f"{name}: {code}")(breach(frames, code))


# Patience


@case("half a message, then silence: 1008")
def _(ground: Ground) -> str:
    waits = []
    for begin in [raw(0x81, TEXT)[:-1], raw(0x01, TEXT), raw(0x81, TEXT)[:3]]:
        peer = Peer(ground)
        # An answer to a ping would be taken for the rest.
        peer.answers = False
        peer.send(begin)
        code, seconds = peer.end()
        assert code == 1008, f"closed with {code}"
        assert STALL_SECONDS - 0.5 < seconds < 3 * STALL_SECONDS + 5, f"after {seconds:.1f} s"
        waits.append(f"{seconds:.1f} s")
    return ", ".join(waits)


@case("a slow message that goes on is waited for")
def _(ground: Ground) -> None:
    message = create("slowly")
    frame = raw(0x81, message)
    peer = Peer(ground)
    step = len(frame) // 8 + 1
    for at in range(0, len(frame), step):
        peer.send(frame[at : at + step])
        time.sleep(STALL_SECONDS / 4)
    completes(peer)
    arrived(ground, message)


@case("pings without an answer end the connection")
def _(ground: Ground) -> str:
    peer = Peer(ground)
    peer.answers = False
    _, seconds = peer.end()
    assert 3 * PING_SECONDS < seconds < 12 * PING_SECONDS, f"after {seconds:.1f} s"
    return f"{seconds:.1f} s"


@case("pings with an answer do not")
def _(ground: Ground) -> None:
    peer = Peer(ground)
    until = time.monotonic() + 7 * PING_SECONDS
    peer.sock.settimeout(0.1)
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            assert peer.pull(), "the connection ended"
    peer.sock.settimeout(PATIENCE)
    works(peer, ground)


@case("a client that does not answer a close is left")
def _(ground: Ground) -> str:
    peer = Peer(ground)
    peer.answers = False
    peer.send(raw(0x80, b"out of turn"))
    code, seconds = peer.end()
    assert code == 1002 and seconds < 8, f"{code} after {seconds:.1f} s"
    # It neither answers nor goes: the pool has to let go by itself.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            peer.send(raw(0x89, b"x"))
        except OSError:
            return f"{seconds * 1000:.0f} ms"
        time.sleep(0.1)
    raise AssertionError("the connection is still there")


@case("a handshake that dribbles is closed")
def _(ground: Ground) -> str:
    sock = socket.create_connection(("127.0.0.1", ground.port), timeout=0.1)
    begun = time.monotonic()
    sock.sendall(b"GET /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\n")
    while time.monotonic() - begun < PATIENCE:
        try:
            sock.sendall(b"x: y\r\n")
            if not sock.recv(1000):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    seconds = time.monotonic() - begun
    assert seconds < HEAD_SECONDS + 5, f"after {seconds:.1f} s"
    return f"{seconds:.1f} s"


@contextlib.contextmanager
def ground(flags: argparse.Namespace):
    """A fake-upstream and a pool before it, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="codex-pool-frames-") as name:
        folder = pathlib.Path(name)
        fake = scenarios.Fake(f"http://127.0.0.1:{scenarios.free_port()}")
        addr = fake.base.removeprefix("http://")
        command = [str(flags.fake_bin), "--addr", addr, "--pool", str(folder / "pool"), "--each", "2"]
        with scenarios.running(command, folder, "fake", scenarios.bare(), f"{fake.base}/_fake/books") as fake_log:
            while "# listening" not in fake_log.read_text():
                time.sleep(0.02)
            exports = re.findall(r"^export (\w+)=(\S+)$", fake_log.read_text(), re.MULTILINE)
            (folder / "home").mkdir()
            port = scenarios.free_port()
            env = scenarios.bare(
                HOME=str(folder / "home"),
                POOL_DIR=str(folder / "pool"),
                PROXY_LISTEN_ADDR=f"127.0.0.1:{port}",
                PROXY_DB_PATH=str(folder / "data/proxy.db"),
                POOL_MAX_SOCKET_MESSAGE_BYTES=str(MESSAGE_CAP),
                POOL_TIMEOUT_HEAD_READ_SECONDS=str(HEAD_SECONDS),
                POOL_TIMEOUT_BODY_PROGRESS_SECONDS=str(STALL_SECONDS),
                POOL_TIMEOUT_PING_SECONDS=str(PING_SECONDS),
                **dict(exports),
            )
            with scenarios.running([str(flags.pool_bin)], folder, "pool", env, f"http://127.0.0.1:{port}/healthz") as log:
                yield Ground(port, fake)
                shown = log.read_text(errors="replace")
                assert "panicked" not in shown, shown[-3000:]


def main() -> int:
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", default="", help="cases with this in their name")
    parser.add_argument("--pool-bin", type=pathlib.Path, default=root / "target/debug/codex-pool")
    parser.add_argument("--fake-bin", type=pathlib.Path, default=root / "target/debug/fake-upstream")
    flags = parser.parse_args()
    for binary in [flags.pool_bin, flags.fake_bin]:
        if not binary.exists():
            parser.error(f"{binary} is missing: cargo build -p codex-pool -p pool-testkit")
    failed = 0
    with ground(flags) as place:
        for name, check in CASES.items():
            if flags.only not in name:
                continue
            try:
                print(f"ok      {name}  ({note})" if (note := check(place)) else f"ok      {name}", flush=True)
            except Exception as error:
                failed += 1
                at = traceback.extract_tb(error.__traceback__)[-1].lineno
                print(f"FAILED  {name}: {type(error).__name__} {error} (line {at})", flush=True)
    print(f"{failed} of {len(CASES)} failed" if failed else "all well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
