// SPDX-License-Identifier: MIT
/*
 * connect ADDRESS PORT LISTENER CPU COUNT: make COUNT connections to ADDRESS and PORT, one after
 * the other, and accept them from LISTENER, the number of an inherited descriptor. Client and
 * server are this one process on one CPU. Prints how many nanoseconds that took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 1000000
#define SECONDS_MAX 60

/* Alone on a CPU: real-time scheduling, so that nobody else's time is taken for ours. */
static void have_to_itself(int cpu)
{
	struct sched_param priority = {.sched_priority = 1};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d", cpu);
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		err(1, "SCHED_FIFO");
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

struct connection {
	int client;
	int server;
};

static struct connection open_connection(const struct addrinfo *target, int listener)
{
	struct connection made = {.client = socket(target->ai_family, SOCK_STREAM, 0)};
	char word;

	if (made.client < 0 || connect(made.client, target->ai_addr, target->ai_addrlen))
		err(1, "connect");
	made.server = accept(listener, NULL, NULL);
	if (made.server < 0)
		err(1, "accept");
	if (write(made.server, "x", 1) != 1 || read(made.client, &word, 1) != 1)
		err(1, "a byte over the connection");
	return made;
}

static void close_connection(struct connection made)
{
	/* By RST: nothing is left behind in TIME_WAIT, and no port taken. */
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (setsockopt(made.client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)))
		err(1, "SO_LINGER");
	close(made.client);
	close(made.server);
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_STREAM};
	struct connection standing;
	struct addrinfo *target;
	long long begin;
	long count;
	int listener;

	if (argc != 6 || getaddrinfo(argv[1], argv[2], &hints, &target))
		errx(2, "usage: connect ADDRESS PORT LISTENER CPU COUNT");
	listener = atoi(argv[3]);
	count = atol(argv[5]);
	if (count <= 0 || count > COUNT_MAX)
		errx(2, "up to %d connections", COUNT_MAX);
	have_to_itself(atoi(argv[4]));
	alarm(SECONDS_MAX);
	/*
	 * A server has more than one connection. Without another one to this port, the kernel would
	 * make its record of the port's users for each anew where the listener has another port
	 * (net/ipv4/inet_hashtables.c, __inet_inherit_port()), which takes half a microsecond.
	 */
	standing = open_connection(target, listener);
	begin = now();
	for (long made = 0; made < count; made++)
		close_connection(open_connection(target, listener));
	printf("%lld\n", now() - begin);
	close_connection(standing);
	return 0;
}
