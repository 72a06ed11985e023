// Request and response over one TCP connection, one byte each way, as netperf's TCP_RR does it.
//
//   tcp-rr serve ADDRESS PORT                  serves one connection
//   tcp-rr ask ADDRESS PORT MILLISECONDS       prints one line of JSON; times in microseconds
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "tcp-rr"
#include "sampling.h"

#define SAMPLES (1u << 22)
// The first ones pay for ARP, slow start and cold caches.
#define WARM_UP 200

int main(int argc, char **argv) {
  int serve = argc == 4 && strcmp(argv[1], "serve") == 0;
  int ask = argc == 5 && strcmp(argv[1], "ask") == 0;
  if (!serve && !ask) {
    fprintf(stderr, "usage: tcp-rr serve ADDRESS PORT | ask ADDRESS PORT MILLISECONDS\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
  if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) die(argv[2]);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  int on = 1;
  unsigned char byte = 0;
  if (serve) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1) < 0) die("bind");
    puts("ready");
    fflush(stdout);
    int peer = accept(fd, NULL, NULL);
    if (peer < 0) die("accept");
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (recv(peer, &byte, 1, 0) == 1) {
      if (send(peer, &byte, 1, MSG_NOSIGNAL) != 1) break;
    }
    return 0;
  }
  if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  uint32_t *samples = malloc(SAMPLES * sizeof *samples);
  if (samples == NULL) die("malloc");
  uint64_t limit = strtoull(argv[4], NULL, 10) * 1000000u, start = nanoseconds(), now = start;
  size_t count = 0;
  for (uint64_t i = 0; now - start < limit && count < SAMPLES; i++) {
    uint64_t before = now;
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) die("connection");
    now = nanoseconds();
    if (i >= WARM_UP) samples[count++] = (uint32_t)(now - before);
  }
  if (count == 0) die("no sample");
  qsort(samples, count, sizeof *samples, ascending);
  printf("{\"transactions\":%zu,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"seconds\":%.6f}\n", count,
         samples[count / 2] / 1e3, samples[count * 9 / 10] / 1e3, samples[count * 99 / 100] / 1e3,
         samples[count - 1] / 1e3, (double)(now - start) / 1e9);
  return 0;
}
