"""TCP flows of which one end never reads: python3 stalled.py WHAT ARGUMENT..."""

import resource
import selectors
import socket
import sys
import time

CHUNK = bytes(1 << 16)
# Seconds in which nothing moves any more.
STILL = 2


def raise_limit():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def say(*words):
    print(*words, flush=True)


def listen(port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def send(connection):
    """Sends as much as goes; answers how much that was, or -1 when the connection is over."""
    sent = 0
    try:
        while True:
            sent += connection.send(CHUNK)
    except BlockingIOError:
        return sent
    except OSError:
        return -1


def serve(port, first):
    """
    Three ports in a row: at the first `first` bytes are read and no more, at the second it is said without end what nobody
    may want to hear, at the third all is taken, and the number of bytes said.
    """
    raise_limit()
    port, first = int(port), int(first)
    selector = selectors.DefaultSelector()
    for kind in ("deaf", "endless", "drain"):
        selector.register(listen(port), selectors.EVENT_READ, (kind, None))
        port += 1
    kept = []
    say("ready")
    while True:
        for key, _ in selector.select():
            kind, taken = key.data
            if taken is None:
                connection, _ = key.fileobj.accept()
                connection.setblocking(False)
                kept.append(connection)
                if kind == "endless":
                    selector.register(connection, selectors.EVENT_WRITE, (kind, [0]))
                elif kind == "drain" or first > 0:
                    selector.register(connection, selectors.EVENT_READ, (kind, [0]))
            elif kind == "endless":
                if send(key.fileobj) < 0:
                    selector.unregister(key.fileobj)
            else:
                got = key.fileobj.recv(1 << 20 if kind == "drain" else min(1 << 16, first - taken[0]))
                taken[0] += len(got)
                if kind == "deaf":
                    if not got or taken[0] == first:
                        selector.unregister(key.fileobj)
                elif not got:
                    key.fileobj.setblocking(True)
                    key.fileobj.sendall(b"%d\n" % taken[0])
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    kept.remove(key.fileobj)


def stall(host, port, count, first):
    """
    Half of the connections speak to somebody who does not hear, of the other half nothing is read but `first` bytes. Says
    `ready` when nothing moves any more, and keeps them all until a line comes in.
    """
    raise_limit()
    port, first = int(port), int(first)
    selector = selectors.DefaultSelector()
    connections = []
    for number in range(int(count)):
        up = number % 2 == 0
        connection = socket.create_connection((host, port if up else port + 1), timeout=30)
        connection.setblocking(False)
        connections.append(connection)
        if up:
            selector.register(connection, selectors.EVENT_WRITE, None)
        elif first > 0:
            selector.register(connection, selectors.EVENT_READ, [first])
    sent = 0
    moved = time.monotonic()
    while time.monotonic() - moved < STILL:
        for key, _ in selector.select(0.1):
            if key.data is None:
                more = send(key.fileobj)
                if more < 0:
                    sys.exit("a connection is over")
                sent += more
            else:
                got = key.fileobj.recv(min(1 << 16, key.data[0]))
                if not got:
                    sys.exit("a connection is over")
                key.data[0] -= len(got)
                if key.data[0] == 0:
                    selector.unregister(key.fileobj)
            moved = time.monotonic()
    say("ready", len(connections), sent)
    sys.stdin.readline()


def pump(host, port, seconds):
    """Sends for so long as fast as it can; says how many bytes a second arrived."""
    with socket.create_connection((host, int(port) + 2), timeout=30) as connection:
        begun = time.monotonic()
        while time.monotonic() - begun < float(seconds):
            connection.sendall(CHUNK)
        connection.shutdown(socket.SHUT_WR)
        arrived = int(connection.makefile().readline())
        say(int(arrived / (time.monotonic() - begun)))


globals()[sys.argv[1]](*sys.argv[2:])
