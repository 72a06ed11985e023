// One UDP sender and one receiver that count what got lost on the way.
//
//   udp-blast send ADDRESS PORT RATE MILLISECONDS PAYLOAD    rate in datagrams per second, 0: as fast as it goes
//   udp-blast recv ADDRESS PORT MILLISECONDS                 gives up when nothing came for so long
//
// Both print one line of JSON. Every datagram carries a 64-bit sequence number; the last ones carry the mark
// of the end, so that the receiver does not wait for its timeout.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 16
#define END UINT64_MAX
// Longest sleep of the pacing: the bursts that it causes stay far under any queue on the way.
#define PAUSE_NS 50000

static void die(const char *what) {
  fprintf(stderr, "udp-blast: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct sockaddr_in address(char **argv) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
  if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) die(argv[2]);
  return to;
}

static int send_all(char **argv) {
  struct sockaddr_in to = address(argv);
  double rate = atof(argv[4]);
  uint64_t limit = strtoull(argv[5], NULL, 10) * 1000000u;
  size_t payload = strtoull(argv[6], NULL, 10);
  if (payload < 8 || payload > 65507) die("payload");
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
  prctl(PR_SET_TIMERSLACK, 1);

  static unsigned char bytes[BATCH][65536];
  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    vectors[i].iov_base = bytes[i];
    vectors[i].iov_len = payload;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  uint64_t start = nanoseconds(), now = start, sequence = 0, refused = 0;
  while (now - start < limit) {
    uint64_t due = rate > 0 ? (uint64_t)((double)(now - start) * rate / 1e9) : sequence + BATCH;
    if (due <= sequence) {
      struct timespec pause = {0, PAUSE_NS};
      nanosleep(&pause, NULL);
    }
    while (sequence < due) {
      unsigned count = due - sequence < BATCH ? (unsigned)(due - sequence) : BATCH;
      for (unsigned i = 0; i < count; i++) {
        uint64_t number = sequence + i;
        memcpy(bytes[i], &number, sizeof number);
      }
      int sent = sendmmsg(fd, messages, count, 0);
      if (sent > 0) sequence += (uint64_t)sent;
      // ECONNREFUSED: the receiver has given up. The flow is lost, and counts as that.
      else if (errno == ENOBUFS || errno == EAGAIN || errno == ECONNREFUSED) refused++, sequence++;
      else if (errno != EINTR) die("sendmmsg");
      // A sender that cannot keep up with its rate must still end in time.
      if (rate > 0 && nanoseconds() - start >= limit) break;
    }
    now = nanoseconds();
  }
  uint64_t mark = END;
  for (int i = 0; i < 5; i++) {
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
    memcpy(bytes[0], &mark, sizeof mark);
    if (send(fd, bytes[0], payload, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED) die("send");
  }
  printf("{\"sent\":%llu,\"refused\":%llu,\"seconds\":%.6f}\n", (unsigned long long)sequence,
         (unsigned long long)refused, (double)(now - start) / 1e9);
  return 0;
}

static int receive_all(char **argv) {
  struct sockaddr_in at = address(argv);
  int patience = atoi(argv[4]);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  // The network is measured, not the receiver's socket: give it room for a pause of the scheduler.
  int room = 16 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  }
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
  puts("ready");
  fflush(stdout);

  static unsigned char bytes[64][2048];
  struct mmsghdr messages[64];
  struct iovec vectors[64];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < 64; i++) {
    vectors[i].iov_base = bytes[i];
    vectors[i].iov_len = sizeof bytes[i];
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  uint64_t received = 0, reordered = 0, next = 0, first = 0, last = 0;
  for (int ended = 0; !ended;) {
    int count = recvmmsg(fd, messages, 64, MSG_DONTWAIT, NULL);
    if (count <= 0) {
      if (count < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
      struct pollfd wait = {.fd = fd, .events = POLLIN};
      if (poll(&wait, 1, patience) == 0) break;
      continue;
    }
    last = nanoseconds();
    if (received == 0) first = last;
    for (int i = 0; i < count; i++) {
      uint64_t number;
      memcpy(&number, bytes[i], sizeof number);
      if (number == END) {
        // Before the first datagram it is a late one of the flow before.
        ended = received > 0;
        continue;
      }
      received++;
      if (number < next) reordered++;
      else next = number + 1;
    }
  }
  printf("{\"received\":%llu,\"reordered\":%llu,\"seconds\":%.6f}\n", (unsigned long long)received,
         (unsigned long long)reordered, (double)(last - first) / 1e9);
  return 0;
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, 15);
  if (argc == 7 && strcmp(argv[1], "send") == 0) return send_all(argv);
  if (argc == 5 && strcmp(argv[1], "recv") == 0) return receive_all(argv);
  fprintf(stderr, "usage: udp-blast send ADDRESS PORT RATE MILLISECONDS PAYLOAD | recv ADDRESS PORT MILLISECONDS\n");
  return 2;
}
