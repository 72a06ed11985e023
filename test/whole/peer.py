"""Both ends of the traffic that ping, iperf3 and traceroute do not make: python3 peer.py WHAT ARGUMENT..."""

import hashlib
import resource
import selectors
import socket
import sys
import time

SO_RCVBUFFORCE = 33
UDP_SEGMENT = 103
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0
BLOCK = 1 << 16


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def block(number):
    """Bytes that are different for every number, and fast to make."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest() * (BLOCK // 32)


def say(*words):
    print(*words, flush=True)


def sink(port):
    """Takes one TCP connection; says how much came and its sha256."""
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    say("ready")
    connection, _ = listener.accept()
    total, digest = 0, hashlib.sha256()
    while data := connection.recv(BLOCK):
        total += len(data)
        digest.update(data)
    say(total, digest.hexdigest())


def source(host, port, length):
    """Sends so many bytes over TCP; says how many and their sha256."""
    left, digest = int(length), hashlib.sha256()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        number = 0
        while left > 0:
            data = block(number)[:left]
            connection.sendall(data)
            digest.update(data)
            left -= len(data)
            number += 1
    say(length, digest.hexdigest())


def listen(port):
    listener = socket.create_server(
        ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
    )
    listener.setblocking(False)
    return listener


def echo(port):
    """Gives back what comes over TCP, of any number of connections, until it is ended."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    selector, listener = selectors.DefaultSelector(), listen(port)
    selector.register(listener, selectors.EVENT_READ)
    say("ready")
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    # It has gone meanwhile.
                    continue
                selector.register(connection, selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(BLOCK)
            if data:
                key.fileobj.sendall(data)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def crowd(host, port, count):
    """
    Opens so many TCP connections at once, and says so when all are open. At a word on stdin, each sends something of
    its own and takes it back; says on how many the same came back.
    """
    count, destination = int(count), socket.getaddrinfo(host, port)[0][4]
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    connections = [socket.socket(family(host), socket.SOCK_STREAM) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        connection.setblocking(False)
        connection.connect_ex(destination)
        selector.register(connection, selectors.EVENT_WRITE)
    waiting = count
    while waiting > 0:
        for key, _ in selector.select():
            error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                sys.exit(f"not connected: {error}")
            selector.unregister(key.fileobj)
            waiting -= 1
    say("ready")
    sys.stdin.readline()
    for number, connection in enumerate(connections):
        connection.setblocking(True)
        connection.settimeout(30)
        connection.sendall(block(number)[:1000])
    same = 0
    for number, connection in enumerate(connections):
        data = b""
        while len(data) < 1000 and (more := connection.recv(1000 - len(data))):
            data += more
        same += data == block(number)[:1000]
    say(same)


def reply(port):
    """Sends UDP datagrams back to where they came from, until it is ended; the first word is who sent it."""
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", int(port)))
    say("ready")
    while True:
        data, sender = udp.recvfrom(BLOCK)
        who = sender[0].removeprefix("::ffff:")
        udp.sendto(f"{who} ".encode() + data, sender)


def ask(host, port, text):
    """Sends a UDP datagram, again when it may have been lost; says what comes back."""
    udp = socket.socket(family(host), socket.SOCK_DGRAM)
    # Connected: what comes from elsewhere is not heard, and a refusal is.
    udp.connect(socket.getaddrinfo(host, port)[0][4])
    udp.settimeout(0.25)
    for left in reversed(range(40)):
        udp.send(text.encode())
        try:
            say(udp.recv(BLOCK).decode())
            return
        except TimeoutError:
            if left == 0:
                raise


def datagrams(host, port, size, count, per_call):
    """Sends UDP datagrams, `per_call` with each system call (UDP_SEGMENT); says their number and sha256."""
    size, count, per_call = int(size), int(count), int(per_call)
    udp = socket.socket(family(host), socket.SOCK_DGRAM)
    # Without DF, so that a router may cut them: the default would only send what fits the path.
    if family(host) == socket.AF_INET:
        udp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
    if per_call > 1:
        udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    digest = hashlib.sha256()
    for first in range(0, count, per_call):
        batch = b"".join(block(number)[:size] for number in range(first, min(first + per_call, count)))
        udp.sendto(batch, (host, int(port)))
        digest.update(batch)
        # A receiver's buffer holds some hundred of them.
        time.sleep(0.001)
    say(count, digest.hexdigest())


def collect(port, count):
    """Takes so many UDP datagrams; says their number and sha256, after 20 s of silence what there was."""
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # For all of them, also when nobody takes one for a while; SO_RCVBUF has a limit of the machine's.
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
    udp.bind(("::", int(port)))
    udp.settimeout(20)
    say("ready")
    got, digest = 0, hashlib.sha256()
    try:
        while got < int(count):
            digest.update(udp.recv(BLOCK))
            got += 1
    except TimeoutError:
        pass
    say(got, digest.hexdigest())


def flood(host, port, seconds):
    """Sends UDP datagrams in frames of 64 bytes as fast as it can; says how many."""
    udp = socket.socket(family(host), socket.SOCK_DGRAM)
    udp.connect(socket.getaddrinfo(host, port)[0][4])
    data = bytes(22)
    count, end = 0, time.monotonic() + float(seconds)
    say("ready")
    while time.monotonic() < end:
        for _ in range(100):
            try:
                udp.send(data)
                count += 1
            except OSError:
                # The interface's own queue is full, or nobody listens there.
                pass
    say(count)


def frames(ifname):
    """Sends the frames on stdin, one line of hex each, as they are; says how many."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((ifname, 0))
    count = 0
    for line in sys.stdin:
        raw.send(bytes.fromhex(line))
        count += 1
        # The interface's queue takes 1,000 frames.
        if count % 100 == 0:
            time.sleep(0.005)
    say(count)


globals()[sys.argv[1]](*sys.argv[2:])
