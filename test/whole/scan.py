"""Looks for what is open at an address: python3 scan.py tcp|udp HOST PORT... or FIRST-LAST; the other end: listen HOST COUNT."""

import errno
import json
import selectors
import socket
import struct
import sys
import time

# A question for the address of "localhost", which every name server here answers.
QUESTION = struct.pack("!6H", 0x7274, 0x0100, 1, 0, 0, 0) + b"\x09localhost\x00\x00\x01\x00\x01"
# What else a service may answer: what asks for the version of the API, a DHCP client that looks for a server.
OTHERS = [
    b"GET /v1/version HTTP/1.0\r\n\r\n",
    struct.pack("!4BI2H4I", 1, 1, 6, 0, 0x7274, 0, 0x8000, 0, 0, 0, 0).ljust(236, b"\0")
    + b"\x63\x82\x53\x63\x35\x01\x01\xff",
]
AT_A_TIME = 400
# Seconds, of which one is over when what got lost is sent again.
SILENCE = 15


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def ports_of(words):
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


def tcp(host, *words):
    """Connects to every port, and says which are open, how many refuse and are silent, and what else came."""
    open_ports, refused, silent, others = [], 0, 0, []
    waiting, ports = selectors.DefaultSelector(), ports_of(words)
    port = next(ports, None)
    while port is not None or waiting.get_map():
        while port is not None and len(waiting.get_map()) < AT_A_TIME:
            one = socket.socket(family(host), socket.SOCK_STREAM)
            one.setblocking(False)
            one.connect_ex((host, port))
            waiting.register(one, selectors.EVENT_WRITE, (port, time.monotonic()))
            port = next(ports, None)
        for key, _ in waiting.select(0.1):
            waiting.unregister(key.fileobj)
            error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error == 0:
                open_ports.append(key.data[0])
            elif error == errno.ECONNREFUSED:
                refused += 1
            else:
                others.append(errno.errorcode[error])
            key.fileobj.close()
        now = time.monotonic()
        for key in [key for key in waiting.get_map().values() if now - key.data[1] > SILENCE]:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
            silent += 1
    print(json.dumps({"open": sorted(open_ports), "refused": refused, "silent": silent, "others": sorted(set(others))}))


def udp(host, *words):
    """Sends what services answer to every port, and says from which ports somebody did."""
    said, one = set(), socket.socket(family(host), socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    one.settimeout(0.3)
    for number, port in enumerate(ports_of(words)):
        for text in [QUESTION, *OTHERS]:
            one.sendto(text, (host, port))
        if number % 100 == 99:
            hear(one, said)
            # The name server has its turn, so that nothing is lost on the way: nobody is sent more than he takes.
            wait_for_name_server(host)
    # Whoever answers has done so before the name server answers the last one.
    wait_for_name_server(host)
    one.setblocking(True)
    one.settimeout(1)
    try:
        while True:
            said.add(one.recvfrom(2000)[1][1])
    except TimeoutError:
        print(json.dumps(sorted(said)))


def hear(one, said):
    one.setblocking(False)
    try:
        while True:
            said.add(one.recvfrom(2000)[1][1])
    except BlockingIOError:
        one.settimeout(0.3)


def wait_for_name_server(host):
    with socket.socket(family(host), socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        for _ in range(10):
            asking.sendto(QUESTION, (host, 53))
            try:
                asking.recv(2000)
                return
            except TimeoutError:
                pass
    sys.exit("the name server does not answer")


def listen(host, count):
    """Listens at so many TCP ports and as many of UDP, says at which, and then of each who came."""
    selector, ports = selectors.DefaultSelector(), []
    while len(ports) < int(count):
        one = socket.create_server((host, 0), family=family(host))
        port = one.getsockname()[1]
        other = socket.socket(family(host), socket.SOCK_DGRAM)
        other.bind((host, port))
        for each in (one, other):
            selector.register(each, selectors.EVENT_READ)
        ports.append(port)
    print(json.dumps(ports), flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj.type == socket.SOCK_STREAM:
                connection, sender = key.fileobj.accept()
                connection.close()
            else:
                _, sender = key.fileobj.recvfrom(2000)
            print("came", sender[0], flush=True)


{"tcp": tcp, "udp": udp, "listen": listen}[sys.argv[1]](*sys.argv[2:])
