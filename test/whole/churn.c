/*
 * Many short TCP connections.
 *
 *   churn serve CLOSER PORT                         gives back the 64 bytes of every connection, until it is ended
 *   churn connect CLOSER HOST PORT COUNT PARALLEL   makes so many connections, so many of them at a time; each sends 64
 *                                                   bytes of its own and takes them back. Says how many went well, and
 *                                                   why the others did not.
 *
 * CLOSER is who closes the connections first and has to remember them then (TIME_WAIT): server or client.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH 64
#define MOST 8192
#define EVENTS 256
/* Longer than the kernel takes to give up a handshake that nobody answers. */
#define PATIENCE_MS 180000

static int epoll_fd;
static int server_closes;
/* By descriptor: what it is to send or has received. */
static struct { unsigned char sent[LENGTH], got[LENGTH]; unsigned length; int connected; } connections[MOST];

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static void watch(int operation, int fd, unsigned events) {
	struct epoll_event event = { .events = events, .data.fd = fd };
	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0) fail("epoll_ctl");
}

static void serve(const char *port) {
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), zero = 0, one = 1;
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 4096) < 0) fail("listen");
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(epoll_fd, events, EVENTS, -1);
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
					connections[fd].length = 0;
					watch(EPOLL_CTL_ADD, fd, EPOLLIN);
				}
				continue;
			}
			int length = recv(fd, connections[fd].got + connections[fd].length, LENGTH - connections[fd].length, 0);
			if (length < 0 && errno == EAGAIN) continue;
			if (length > 0 && (connections[fd].length += length) < LENGTH) continue;
			if (length > 0) {
				if (send(fd, connections[fd].got, LENGTH, MSG_NOSIGNAL) != LENGTH) perror("send");
				connections[fd].length = 0;
				if (!server_closes) continue;
			}
			close(fd);
		}
	}
}

static struct addrinfo *destination;
static long begun, good, bad;
static int under_way;

static void refused(int error) {
	if (++bad <= 10) fprintf(stderr, "failed: %s\n", strerror(error));
}

static void begin(void) {
	int fd = socket(destination->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0) fail("socket");
	long number = begun++;
	memset(connections[fd].sent, (int)(number % 251), LENGTH);
	memcpy(connections[fd].sent, &number, sizeof number);
	connections[fd].length = connections[fd].connected = 0;
	if (connect(fd, destination->ai_addr, destination->ai_addrlen) < 0 && errno != EINPROGRESS) {
		refused(errno);
		close(fd);
		return;
	}
	under_way++;
	watch(EPOLL_CTL_ADD, fd, EPOLLOUT);
}

/* Whether the connection is over. */
static int go_on(int fd) {
	if (!connections[fd].connected) {
		int error = 0;
		socklen_t size = sizeof error;
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error == 0 && send(fd, connections[fd].sent, LENGTH, MSG_NOSIGNAL) != LENGTH) error = errno;
		if (error != 0) {
			refused(error);
			return 1;
		}
		connections[fd].connected = 1;
		watch(EPOLL_CTL_MOD, fd, EPOLLIN);
		return 0;
	}
	for (;;) {
		unsigned char more[LENGTH + 1];
		int length = recv(fd, more, sizeof more, 0);
		if (length < 0 && errno == EAGAIN) return 0;
		if (length < 0) refused(errno);
		else if (length == 0) {
			if (connections[fd].length == LENGTH && memcmp(connections[fd].sent, connections[fd].got, LENGTH) == 0) good++;
			else refused(ENODATA);
		} else if (connections[fd].length + length > LENGTH) refused(EMSGSIZE);
		else {
			memcpy(connections[fd].got + connections[fd].length, more, length);
			connections[fd].length += length;
			if (server_closes || connections[fd].length < LENGTH) continue;
			if (memcmp(connections[fd].sent, connections[fd].got, LENGTH) == 0) good++;
			else refused(ENODATA);
		}
		return 1;
	}
}

static void make(const char *host, const char *port, long count, int parallel) {
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	int error = getaddrinfo(host, port, &hints, &destination);
	if (error != 0) {
		fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
		exit(1);
	}
	while (begun < count || under_way > 0) {
		while (begun < count && under_way < parallel) begin();
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(epoll_fd, events, EVENTS, PATIENCE_MS);
		if (ready == 0) {
			fprintf(stderr, "nothing happens any more; %d connections are under way\n", under_way);
			bad += under_way;
			break;
		}
		for (int i = 0; i < ready; i++) {
			if (!go_on(events[i].data.fd)) continue;
			close(events[i].data.fd);
			under_way--;
			if ((good + bad) % 100000 == 0) fprintf(stderr, "%ld\n", good + bad);
		}
	}
	printf("%ld of %ld\n", good, count);
}

int main(int argc, char **argv) {
	struct rlimit limit = { MOST, MOST };
	setrlimit(RLIMIT_NOFILE, &limit);
	epoll_fd = epoll_create1(0);
	if (argc < 4) return 2;
	server_closes = strcmp(argv[2], "server") == 0;
	if (argc == 4 && strcmp(argv[1], "serve") == 0) serve(argv[3]);
	else if (argc == 7 && strcmp(argv[1], "connect") == 0) make(argv[3], argv[4], atol(argv[5]), atoi(argv[6]));
	else return 2;
	return bad > 0;
}
