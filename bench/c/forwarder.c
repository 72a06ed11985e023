// The limit that a user-space switch is measured against: two TAPs, each in its own network namespace, and a
// loop that does nothing but read and write. No table, no parsing, no checksum: whatever a real switch does
// comes on top of this.
//
//   forwarder NETNS_A NETNS_B IFNAME MTU [SPIN_US [BUDGET [TXQLEN]]]
//
// Prints "ready" when both TAPs exist and runs until it gets SIGTERM or its standard input ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

// virtio_net_hdr_mrg_rxbuf, Ethernet header with a tag, and the largest IP packet.
#define FRAME_MAX (12 + 18 + 65535)

static void die(const char *what) {
  fprintf(stderr, "forwarder: %s: %s\n", what, strerror(errno));
  exit(1);
}

// Opens a TAP inside the namespace at `path`; the descriptor stays ours wherever the thread goes afterwards.
static int open_tap(const char *path, const char *name, int mtu, int txqlen) {
  int ns = open(path, O_RDONLY | O_CLOEXEC);
  if (ns < 0) die(path);
  if (setns(ns, CLONE_NEWNET) < 0) die("setns");
  close(ns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("/dev/net/tun");
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd, TUNSETIFF, &request) < 0) die("TUNSETIFF");
  int header = 12;
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) die("TUNSETVNETHDRSZ");
  unsigned long offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6;
  if (ioctl(fd, TUNSETOFFLOAD, offload) < 0) {
    // USO came with Linux 6.2.
    offload &= ~(unsigned long)(TUN_F_USO4 | TUN_F_USO6);
    if (ioctl(fd, TUNSETOFFLOAD, offload) < 0) die("TUNSETOFFLOAD");
  }
  int control = socket(AF_INET, SOCK_DGRAM, 0);
  request.ifr_mtu = mtu;
  if (ioctl(control, SIOCSIFMTU, &request) < 0) die("SIOCSIFMTU");
  if (txqlen > 0) {
    request.ifr_qlen = txqlen;
    if (ioctl(control, SIOCSIFTXQLEN, &request) < 0) die("SIOCSIFTXQLEN");
  }
  close(control);
  return fd;
}

static uint64_t microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static unsigned char frame[FRAME_MAX];

// Moves up to `budget` frames; a frame that the other side refuses is lost, as in any switch.
static int drain(int from, int to, int budget) {
  int moved = 0;
  while (moved < budget) {
    ssize_t length = read(from, frame, sizeof frame);
    if (length <= 0) {
      if (length < 0 && errno != EAGAIN && errno != EINTR) die("read");
      break;
    }
    ssize_t sent = write(to, frame, (size_t)length);
    (void)sent;
    moved++;
  }
  return moved;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: forwarder NETNS_A NETNS_B IFNAME MTU [SPIN_US [BUDGET [TXQLEN]]]\n");
    return 2;
  }
  int mtu = atoi(argv[4]);
  uint64_t spin = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
  int budget = argc > 6 ? atoi(argv[6]) : 64;
  int txqlen = argc > 7 ? atoi(argv[7]) : 0;
  prctl(PR_SET_PDEATHSIG, 15);
  int tap[2];
  tap[0] = open_tap(argv[1], argv[3], mtu, txqlen);
  tap[1] = open_tap(argv[2], argv[3], mtu, txqlen);

  int ep = epoll_create1(EPOLL_CLOEXEC);
  for (uint32_t i = 0; i < 3; i++) {
    struct epoll_event event = {.events = i == 2 ? EPOLLHUP : EPOLLIN, .data.u32 = i};
    // Standard input that is a file or /dev/null cannot be waited for; then only a signal ends the loop.
    if (epoll_ctl(ep, EPOLL_CTL_ADD, i == 2 ? 0 : tap[i], &event) < 0 && i < 2) die("epoll_ctl");
  }
  puts("ready");
  fflush(stdout);

  struct epoll_event events[3];
  for (;;) {
    int count = epoll_wait(ep, events, 3, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      uint32_t side = events[i].data.u32;
      if (side == 2) return 0;
      drain(tap[side], tap[1 - side], budget);
    }
    if (spin == 0) continue;
    uint64_t quiet = microseconds();
    do {
      if (drain(tap[0], tap[1], budget) + drain(tap[1], tap[0], budget) > 0) quiet = microseconds();
    } while (microseconds() - quiet < spin);
  }
}
