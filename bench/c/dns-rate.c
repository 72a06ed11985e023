// Questions for the address of a name at a given rate over UDP, each with its time.
//
//   dns-rate ADDRESS NAME RATE MILLISECONDS    prints one line of JSON; times in microseconds
//
// With `itself` for ADDRESS a process of its own answers, on the loopback: what asking and answering cost without any network.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "dns-rate"
#include "sampling.h"

#define SAMPLES (1u << 22)
// What has not come by then never will.
#define PATIENCE 500000000u

// A question of one label, class IN, type A; answers its length.
static size_t question(unsigned char *message, const char *name) {
  size_t length = strlen(name);
  if (length > 63) length = 63;
  memset(message, 0, 12);
  message[2] = 1;
  message[5] = 1;
  message[12] = (unsigned char)length;
  memcpy(message + 13, name, length);
  unsigned char *end = message + 13 + length;
  memcpy(end, "\0\0\1\0\1", 5);
  return 18 + length;
}

// Answers every question at a port of the loopback, which it puts into `at`, with an address, until the asker ends.
static void answer_itself(struct sockaddr_in *at) {
  static const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 1};
  unsigned char message[512];
  socklen_t length = sizeof *at;
  at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at->sin_port = 0;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)at, length) < 0) die("bind");
  if (getsockname(fd, (struct sockaddr *)at, &length) < 0) die("getsockname");
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t count = recvfrom(fd, message, sizeof message - sizeof record, 0, (struct sockaddr *)&from, &size);
    if (count < 12) continue;
    message[2] |= 0x84;
    message[7] = 1;
    memcpy(message + count, record, sizeof record);
    sendto(fd, message, (size_t)count + sizeof record, 0, (struct sockaddr *)&from, size);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: dns-rate ADDRESS NAME RATE MILLISECONDS\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
  if (strcmp(argv[1], "itself") == 0) answer_itself(&at);
  else if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) die(argv[1]);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0) die("socket");
  unsigned char message[128], answer[4096];
  size_t length = question(message, argv[2]);
  uint64_t gap = 1000000000u / (uint64_t)atoi(argv[3]);
  uint64_t *sent = calloc(65536, sizeof *sent);
  uint32_t *times = malloc(SAMPLES * sizeof *times);
  if (!sent || !times) die("memory");
  uint64_t start = nanoseconds(), end = start + (uint64_t)atoi(argv[4]) * 1000000u, next = start;
  uint32_t asked = 0, answered = 0;
  for (uint64_t now = start; now < end + PATIENCE; now = nanoseconds()) {
    // A late sender does not send the late ones at once: that would be another rate.
    if (now < end && now >= next) {
      uint16_t id = (uint16_t)asked++;
      message[0] = id >> 8;
      message[1] = id & 255;
      sent[id] = nanoseconds();
      if (send(fd, message, length, 0) < 0) die("send");
      next = next + gap > now - 10 * gap ? next + gap : now;
    }
    struct pollfd poll = {.fd = fd, .events = POLLIN};
    uint64_t wait = now < end ? (next > now ? next - now : 0) : 10000000u;
    struct timespec timeout = {.tv_sec = 0, .tv_nsec = (long)wait};
    if (ppoll(&poll, 1, &timeout, NULL) <= 0) {
      if (now >= end && answered == asked) break;
      continue;
    }
    for (ssize_t count; (count = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) > 0;) {
      uint16_t id = (uint16_t)(answer[0] << 8 | answer[1]);
      // NOERROR, with an answer.
      if (count < 12 || (answer[3] & 15) != 0 || answer[7] == 0 || sent[id] == 0) continue;
      if (answered < SAMPLES) times[answered++] = (uint32_t)((nanoseconds() - sent[id]) / 100);
      sent[id] = 0;
    }
  }
  qsort(times, answered, sizeof *times, ascending);
  double p50 = answered ? times[answered / 2] / 10.0 : 0;
  double p99 = answered ? times[(uint64_t)answered * 99 / 100] / 10.0 : 0;
  double seconds = (double)(end - start) / 1e9;
  printf("{\"rate\":%.0f,\"lost\":%u,\"p50\":%.1f,\"p99\":%.1f}\n", answered / seconds, asked - answered, p50, p99);
  return 0;
}
