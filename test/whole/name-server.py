"""A name server of the host, invented: says what it was asked, a line each, and answers over UDP and TCP.

Names that end in .example have the address 192.0.2.99, big.example a text of 3,000 bytes, silent.example no answer at all;
all others do not exist.
"""
import socket
import struct
import sys
import threading


def name_of(message):
    labels, at = [], 12
    while message[at] != 0:
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels), at + 1


def answer(message, over_tcp):
    name, end = name_of(message)
    kind = struct.unpack_from(">H", message, end)[0]
    sys.stdout.write(f"{name.lower()} {kind} {'tcp' if over_tcp else 'udp'}\n")
    sys.stdout.flush()
    question = message[12 : end + 4]
    records, flags = b"", 0x8180
    lower = name.lower()
    if lower == "silent.example":
        return None
    if lower == "big.example" and kind == 16:
        if over_tcp:
            text = b"".join(bytes([200]) + b"x" * 200 for _ in range(15))
            records = struct.pack(">HHHIH", 0xC00C, 16, 1, 60, len(text)) + text
        else:
            flags |= 0x0200
    elif not lower.endswith(".example"):
        flags |= 3
    elif kind == 1:
        records = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 99])
    header = message[:2] + struct.pack(">HHHHH", flags, 1, 1 if records else 0, 0, 0)
    return header + question + records


def serve_tcp(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            head = connection.recv(2, socket.MSG_WAITALL)
            if len(head) < 2:
                continue
            message = connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
            said = answer(message, True)
            if said is not None:
                connection.sendall(struct.pack(">H", len(said)) + said)


def main():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))
    tcp = socket.create_server(("127.0.0.1", 53))
    threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
    print("ready", flush=True)
    while True:
        message, sender = udp.recvfrom(4096)
        said = answer(message, False)
        if said is not None:
            udp.sendto(said, sender)


main()
