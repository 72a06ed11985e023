// From connect to the first byte of a server that speaks first, one connection at a time. The client closes first: what
// is lost of a close behind a byte is another matter than how fast the byte is.
//
//   first-byte serve PORT                        one byte to everybody on every address, until it is ended
//   first-byte ask ADDRESS PORT MILLISECONDS     prints one line of JSON; times in microseconds
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PROGRAM "first-byte"
#include "sampling.h"

#define SAMPLES (1u << 20)
#define BACKLOG 128
// The first ones pay for ARP and cold caches.
#define WARM_UP 50

static const struct timeval limit = {.tv_sec = 1};

static void serve(struct sockaddr_in at) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, BACKLOG) < 0) die("bind");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int peer = accept(fd, NULL, NULL);
    if (peer < 0) die("accept");
    char byte;
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    send(peer, "!", 1, MSG_NOSIGNAL);
    recv(peer, &byte, 1, 0);
    close(peer);
  }
}

// Nanoseconds, 0 for a failure.
static uint64_t once(const struct sockaddr_in *to) {
  char byte;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  uint64_t since = nanoseconds(), took = 0;
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 && recv(fd, &byte, 1, 0) == 1 && byte == '!') {
    took = nanoseconds() - since;
  }
  close(fd);
  return took;
}

static int ask(struct sockaddr_in to, uint64_t duration) {
  uint32_t *samples = malloc(SAMPLES * sizeof *samples);
  if (samples == NULL) die("malloc");
  size_t count = 0, failed = 0;
  uint64_t end = nanoseconds() + duration;
  for (int i = 0; i < WARM_UP && nanoseconds() < end; i++) once(&to);
  for (end = nanoseconds() + duration; nanoseconds() < end && count < SAMPLES;) {
    uint64_t took = once(&to);
    if (took == 0) failed++;
    else samples[count++] = (uint32_t)took;
  }
  // Who loses every byte is told with the others.
  if (count == 0) samples[count++] = UINT32_MAX;
  qsort(samples, count, sizeof *samples, ascending);
  printf("{\"connections\":%zu,\"failed\":%zu,\"p50\":%.2f,\"p99\":%.2f}\n", count, failed,
         samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3);
  return 0;
}

int main(int argc, char **argv) {
  int serves = argc == 3 && strcmp(argv[1], "serve") == 0;
  int asks = argc == 5 && strcmp(argv[1], "ask") == 0;
  if (!serves && !asks) {
    fprintf(stderr, "usage: first-byte serve PORT | ask ADDRESS PORT MILLISECONDS\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[serves ? 2 : 3]))};
  if (serves) serve(at);
  if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) die(argv[2]);
  return ask(at, strtoull(argv[4], NULL, 10) * 1000000u);
}
