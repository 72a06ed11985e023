"""Many servers and many probes at once, in namespaces: python3 why-probe.py < QUESTIONS.json

QUESTIONS is {"servers": [{"netns", "addresses", "ports"}], "probes": [{"netns", "protocol", "to", "port", "greeting"}],
"seconds"}. Servers send back what they get, over TCP and UDP, from the address that was asked. The answer is a list of true and
false: whether an answer came. With "greeting" false the connection alone counts.
"""

import ctypes
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
DATA = b"tapdeck why"
# Seconds.
AGAIN = 1


def in_namespace(path, make):
    """What `make` answers in a namespace; sockets stay in the one in which they were made."""
    result = []

    def run():
        fd = os.open(path, os.O_RDONLY)
        try:
            if LIBC.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)
        result.append(make())

    # setns changes the one thread that calls it.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(address, port, kind):
    made = socket.socket(family(address), kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family(address) == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen(512)
    made.setblocking(False)
    return made


def serve(loop, server):
    def make():
        return [
            (listen(address, port, kind), kind)
            for address in server["addresses"]
            for port in server["ports"]
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        ]

    for made, kind in in_namespace(server["netns"], make):
        loop.register(made, selectors.EVENT_READ, accept if kind == socket.SOCK_STREAM else echo)


def accept(loop, listener):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        # It has gone meanwhile.
        return
    connection.setblocking(False)
    loop.register(connection, selectors.EVENT_READ, send_back)


def send_back(loop, connection):
    try:
        data = connection.recv(4096)
        connection.send(data)
    except OSError:
        data = b""
    if not data:
        loop.unregister(connection)
        connection.close()


def echo(_loop, server):
    # With the error of an answer before that was refused, and nothing to answer.
    try:
        data, sender = server.recvfrom(4096)
        server.sendto(data, sender)
    except OSError:
        pass


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Probe:
    def __init__(self, number, probe):
        self.number = number
        self.probe = probe
        self.is_answered = False
        self.is_over = False
        self.socket = in_namespace(probe["netns"], self.open)

    def open(self):
        address = self.probe["to"]
        is_ipv6 = family(address) == socket.AF_INET6
        if self.probe["protocol"] == "icmp":
            protocol = socket.IPPROTO_ICMPV6 if is_ipv6 else socket.IPPROTO_ICMP
            made = socket.socket(family(address), socket.SOCK_RAW, protocol)
        elif self.probe["protocol"] == "udp":
            made = socket.socket(family(address), socket.SOCK_DGRAM)
        else:
            made = socket.socket(family(address), socket.SOCK_STREAM)
        made.setblocking(False)
        self.socket = made
        try:
            if self.probe["protocol"] != "icmp":
                made.connect((address, self.probe["port"]))
            self.ask()
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True
        return made

    def ask(self):
        """What the kernel does not say again by itself; it may have been lost."""
        address = self.probe["to"]
        if self.probe["protocol"] == "icmp":
            self.socket.sendto(self.request(family(address) == socket.AF_INET6), (address, 0))
        elif self.probe["protocol"] == "udp":
            self.socket.send(DATA)

    def ask_again(self, loop):
        try:
            self.ask()
        except BlockingIOError:
            pass
        except OSError:
            self.finish(False)
            loop.unregister(self.socket)

    def request(self, is_ipv6):
        kind = 128 if is_ipv6 else 8
        head = struct.pack("!BBHHH", kind, 0, 0, 0x7000 + self.number, 1)
        data = head + DATA + b"\0"
        # The kernel knows the addresses, which ICMPv6 has in its checksum.
        return data if is_ipv6 else data[:2] + struct.pack("!H", checksum(data)) + data[4:]

    def events(self):
        waits = self.probe["protocol"] == "tcp" and not self.is_answered
        return selectors.EVENT_WRITE if waits and not getattr(self, "is_connected", False) else selectors.EVENT_READ

    def ready(self, loop):
        try:
            if self.probe["protocol"] == "icmp":
                self.take_reply(self.socket.recv(4096))
            elif self.probe["protocol"] == "udp":
                self.finish(len(self.socket.recv(4096)) > 0)
            elif not getattr(self, "is_connected", False):
                error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error != 0:
                    self.finish(False)
                elif not self.probe["greeting"]:
                    self.finish(True)
                else:
                    self.is_connected = True
                    self.socket.send(DATA)
                    loop.modify(self.socket, selectors.EVENT_READ, self)
            else:
                self.finish(self.socket.recv(4096) == DATA)
        except BlockingIOError:
            pass
        except OSError:
            self.finish(False)

    def take_reply(self, data):
        is_ipv6 = family(self.probe["to"]) == socket.AF_INET6
        if not is_ipv6:
            data = data[(data[0] & 15) * 4 :]
        kind, _, _, identifier, _ = struct.unpack("!BBHHH", data[:8])
        if kind == (129 if is_ipv6 else 0) and identifier == 0x7000 + self.number:
            self.finish(True)

    def finish(self, is_answered):
        self.is_answered = is_answered
        self.is_over = True


def main():
    questions = json.load(sys.stdin)
    loop = selectors.DefaultSelector()
    for server in questions["servers"]:
        serve(loop, server)
    probes = [Probe(number, probe) for number, probe in enumerate(questions["probes"])]
    for probe in probes:
        if not probe.is_over:
            loop.register(probe.socket, probe.events(), probe)
    deadline = time.monotonic() + questions["seconds"]
    again = time.monotonic() + AGAIN
    while any(not probe.is_over for probe in probes) and time.monotonic() < deadline:
        for key, _ in loop.select(timeout=0.1):
            if isinstance(key.data, Probe):
                key.data.ready(loop)
                if key.data.is_over:
                    loop.unregister(key.fileobj)
            else:
                key.data(loop, key.fileobj)
        if time.monotonic() > again:
            for probe in probes:
                if not probe.is_over:
                    probe.ask_again(loop)
            again = time.monotonic() + AGAIN
    print(json.dumps([probe.is_answered for probe in probes]))


main()
