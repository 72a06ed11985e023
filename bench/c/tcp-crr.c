// Short TCP connections, as netperf's TCP_CRR makes them: connect, 64 bytes to the server, close. The server closes
// first, so that it is the one who waits out TIME_WAIT and the client never runs out of ports.
//
//   tcp-crr serve ADDRESS PORT PORTS                         listens on PORTS ports from PORT on, until it is ended
//   tcp-crr ask ADDRESS PORT PORTS PARALLEL MILLISECONDS     prints one line of JSON; times in microseconds
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "tcp-crr"
#include "sampling.h"

#define BYTES 64
#define EVENTS 128
#define MOST_PORTS 256
#define MOST_PARALLEL 1024
#define SAMPLES (1u << 22)
// The first ones pay for ARP and cold caches.
#define WARM_UP_NS 200000000u
// How long those that are under way at the end may take: a lost SYN is sent again after one second.
#define GRACE_NS 2500000000u

static void watch(int queue, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  if (epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

// Data of the server's events: the descriptor, and whether it listens.
#define LISTENS (1ull << 32)

static void serve(struct sockaddr_in at, int ports) {
  int queue = epoll_create1(EPOLL_CLOEXEC), on = 1;
  uint16_t first = ntohs(at.sin_port);
  if (queue < 0) die("epoll_create1");
  for (int i = 0; i < ports; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    at.sin_port = htons((uint16_t)(first + i));
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, MOST_PARALLEL) < 0) die("bind");
    watch(queue, fd, EPOLLIN, (uint64_t)fd | LISTENS);
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(queue, events, EVENTS, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      int fd = (int)(uint32_t)events[i].data.u64;
      if (events[i].data.u64 & LISTENS) {
        for (int peer; (peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
          watch(queue, peer, EPOLLIN, (uint64_t)peer);
        }
        continue;
      }
      // Sent by one write on a fresh connection, they come in one segment.
      char bytes[BYTES];
      recv(fd, bytes, sizeof bytes, 0);
      close(fd);
    }
  }
}

struct connection {
  int fd;
  int asked;
  uint64_t since;
};

static struct connection connections[MOST_PARALLEL];
static struct sockaddr_in to;
static uint16_t first_port;
static int port_count, next_port;

static void begin(int queue, int which) {
  struct connection *c = &connections[which];
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket");
  to.sin_port = htons((uint16_t)(first_port + next_port));
  next_port = (next_port + 1) % port_count;
  c->asked = 0;
  c->since = nanoseconds();
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
  watch(queue, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, (uint64_t)which);
}

// 1: done, -1: failed, 0: not yet.
static int progress(struct connection *c) {
  static const char bytes[BYTES];
  if (!c->asked) {
    ssize_t sent = send(c->fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    if (sent != sizeof bytes) return -1;
    c->asked = 1;
  }
  char byte;
  ssize_t got = recv(c->fd, &byte, 1, 0);
  if (got < 0) return errno == EAGAIN ? 0 : -1;
  return got == 0 ? 1 : -1;
}

static int ask(int parallel, uint64_t limit) {
  int queue = epoll_create1(EPOLL_CLOEXEC);
  uint32_t *samples = malloc(SAMPLES * sizeof *samples);
  if (queue < 0 || samples == NULL) die("epoll_create1");
  uint64_t start = nanoseconds() + WARM_UP_NS, end = start + limit, now = 0, failed = 0, running = 0;
  size_t count = 0;
  for (int i = 0; i < parallel; i++, running++) begin(queue, i);
  while (running > 0 && (now = nanoseconds()) < end + GRACE_NS) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(queue, events, EVENTS, 100);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      int which = (int)events[i].data.u64;
      struct connection *c = &connections[which];
      int outcome = progress(c);
      if (outcome == 0) continue;
      close(c->fd);
      now = nanoseconds();
      if (outcome < 0) failed++;
      else if (now >= start && now < end && count < SAMPLES) samples[count++] = (uint32_t)(now - c->since);
      if (now < end) begin(queue, which);
      else running--;
    }
  }
  if (count == 0) die("no connection");
  qsort(samples, count, sizeof *samples, ascending);
  printf("{\"connections\":%zu,\"failed\":%llu,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"seconds\":%.6f}\n", count,
         (unsigned long long)(failed + running), samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3,
         samples[count - 1] / 1e3, (double)limit / 1e9);
  return 0;
}

int main(int argc, char **argv) {
  int serves = argc == 5 && strcmp(argv[1], "serve") == 0;
  int asks = argc == 7 && strcmp(argv[1], "ask") == 0;
  if (!serves && !asks) {
    fprintf(stderr, "usage: tcp-crr serve ADDRESS PORT PORTS | ask ADDRESS PORT PORTS PARALLEL MILLISECONDS\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  first_port = (uint16_t)atoi(argv[3]);
  port_count = atoi(argv[4]);
  to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(first_port)};
  if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) die(argv[2]);
  if (port_count < 1 || port_count > MOST_PORTS) die("PORTS");
  if (serves) serve(to, port_count);
  int parallel = atoi(argv[5]);
  if (parallel < 1 || parallel > MOST_PARALLEL) die("PARALLEL");
  return ask(parallel, strtoull(argv[6], NULL, 10) * 1000000u);
}
