// A web server that says the same 128 bytes to everybody: what is measured with it is the way to it.
//
//   http-server PORT     HTTP/1.1 with keep-alive on every address, "Connection: close" on request, until it is ended
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 128
#define BACKLOG 1024
#define BODY "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog. The quick brown fox jumps over a dog.\n"
#define HEADERS "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n"

static const char kept[] = HEADERS "\r\n" BODY;
static const char closed[] = HEADERS "Connection: close\r\n\r\n" BODY;

_Static_assert(sizeof BODY - 1 == 128, "Content-Length");

static void die(const char *what) {
  fprintf(stderr, "http-server: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(int queue, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

// Answers what has come; nonzero when the connection is at its end. A request of the benchmark comes in one segment.
static int answer(int fd) {
  char request[4096];
  ssize_t got = recv(fd, request, sizeof request - 1, 0);
  if (got < 0) return errno != EAGAIN;
  if (got == 0) return 1;
  request[got] = 0;
  int close_after = strcasestr(request, "\r\nConnection: close\r\n") != NULL;
  for (char *at = request; (at = strstr(at, "\r\n\r\n")) != NULL; at += 4) {
    const char *text = close_after ? closed : kept;
    size_t length = close_after ? sizeof closed - 1 : sizeof kept - 1;
    if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) return 1;
  }
  return close_after;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: http-server PORT\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
  if (listener < 0) die("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, BACKLOG) < 0) die("bind");
  int queue = epoll_create1(EPOLL_CLOEXEC);
  if (queue < 0) die("epoll_create1");
  watch(queue, listener);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(queue, events, EVENTS, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        for (int peer; (peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
          setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          watch(queue, peer);
        }
      } else if (answer(fd)) close(fd);
    }
  }
}
