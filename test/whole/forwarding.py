"""Both ends of what goes through published ports: python3 forwarding.py WHAT ARGUMENT..."""

import hashlib
import json
import resource
import socket
import sys
import threading

TIMEOUT = 20
DATAGRAM = 1200
# Datagrams on their way at once: fewer than any socket's buffer holds.
WINDOW = 8


def data(length):
    """Bytes that differ everywhere."""
    blocks = -(-length // 32)
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(blocks))[:length]


def host(address):
    return address[0].removeprefix("::ffff:")


def open_socket(kind, port):
    one = socket.socket(socket.AF_INET6, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    one.bind(("::", port))
    return one


def answer(connection, client, port):
    """Takes everything, says who sent it and to which port, and gives it back."""
    with connection:
        connection.settimeout(TIMEOUT)
        got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        connection.sendall(json.dumps([host(client), client[1], port]).encode() + b"\n" + got)


def accept(listener, port):
    while True:
        connection, client = listener.accept()
        threading.Thread(target=answer, args=(connection, client, port), daemon=True).start()


def echo(one, port):
    while True:
        got, client = one.recvfrom(1 << 16)
        one.sendto(json.dumps([host(client), client[1], port]).encode() + b"\n" + got, client)


def serve(*ports):
    """Answers on all of the ports, TCP and UDP of both IP versions, until it is ended."""
    for port in map(int, ports):
        listener = open_socket(socket.SOCK_STREAM, port)
        listener.listen(64)
        threading.Thread(target=accept, args=(listener, port), daemon=True).start()
        udp = open_socket(socket.SOCK_DGRAM, port)
        threading.Thread(target=echo, args=(udp, port), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def report(own, seen, same):
    client, client_port, port = seen
    print(json.dumps({"client": client, "port": port, "ownPort": client_port == own, "same": same}))


def tcp(address, port, length):
    """Sends so many bytes, ends its half, and says who that was to the server and whether the same came back."""
    sent = data(int(length))
    with socket.create_connection((address, int(port)), timeout=TIMEOUT) as connection:
        own = connection.getsockname()[1]
        sender = threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
    seen, _, back = got.partition(b"\n")
    report(own, json.loads(seen), back == sent)


def udp(address, port, length):
    """The same with datagrams, of which few are on their way at once."""
    sent = data(int(length))
    pieces = [sent[at : at + DATAGRAM] for at in range(0, len(sent), DATAGRAM)]
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(socket.getaddrinfo(address, int(port))[0][4])
    one.settimeout(TIMEOUT)
    back, seen = [], set()
    for number, piece in enumerate(pieces):
        one.send(piece)
        if number + 1 < WINDOW and number + 1 < len(pieces):
            continue
        who, _, got = one.recv(1 << 16).partition(b"\n")
        back.append(got)
        seen.add(who)
    while len(back) < len(pieces):
        back.append(one.recv(1 << 16).partition(b"\n")[2])
    report(one.getsockname()[1], json.loads(seen.pop()), not seen and back == pieces)


def talk(connection, word):
    """Whether the word comes back. The server of `peer.py echo` is at the other end."""
    try:
        connection.sendall(word)
        return connection.recv(len(word), socket.MSG_WAITALL) == word
    except OSError as error:
        # Silence is something else than a refusal.
        return None if isinstance(error, TimeoutError) else False


def crowd(address, port, count):
    """
    Opens so many connections, each of which says a word; then those that were answered say another; then, when all are
    closed, it says so; and at a word on stdin as many as were answered are opened again. Says how many of each were answered,
    refused, and heard nothing.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))

    def connect():
        try:
            return socket.create_connection((address, int(port)), timeout=TIMEOUT)
        except ConnectionError:
            return None

    def results(connections, word):
        return [False if one is None else talk(one, word) for one in connections]

    def count_of(answers):
        return [answers.count(True), answers.count(False), answers.count(None)]

    connections = [connect() for _ in range(int(count))]
    first = results(connections, b"one")
    stay = [one for one, answered in zip(connections, first) if answered]
    second = results(stay, b"another")
    for one in connections:
        if one is not None:
            one.close()
    print("closed", flush=True)
    sys.stdin.readline()
    third = results([connect() for _ in stay], b"again")
    print(json.dumps([count_of(first), count_of(second), count_of(third)]))


globals()[sys.argv[1]](*sys.argv[2:])
