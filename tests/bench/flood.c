// SPDX-License-Identifier: MIT
/*
 * flood DEVICE CPU COUNT SIZE: send the frames on standard input, SIZE bytes each, over and over
 * until COUNT are sent, from one CPU. Prints how many nanoseconds that took.
 *
 * A veth pair hands a frame to its other end at once: the receiver's work is done on the same CPU,
 * before the next frame is sent (net/core/dev.c, enqueue_to_backlog() and the softirq after it).
 * So the time is that of sending and receiving together, and nothing is dropped on the way.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define FRAMES_MAX 65536
#define COUNT_MAX 10000000
#define SECONDS_MAX 60

static int open_device(const char *name)
{
	struct sockaddr_ll device = {.sll_family = AF_PACKET};
	int one = 1;
	/* Protocol 0: it sends, and receives nothing (packet(7)). */
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0)
		err(1, "socket");
	device.sll_ifindex = if_nametoindex(name);
	if (!device.sll_ifindex || bind(fd, (struct sockaddr *)&device, sizeof(device)))
		err(1, "%s", name);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		err(1, "PACKET_QDISC_BYPASS");
	return fd;
}

/* Alone on a CPU: real-time scheduling, so that nobody else's time is taken for the packets'. */
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

int main(int argc, char **argv)
{
	static struct mmsghdr messages[FRAMES_MAX + BATCH];
	static struct iovec parts[FRAMES_MAX];
	size_t size, frames;
	long count, sent = 0;
	long long begin;
	char *content;
	int fd;

	if (argc != 5)
		errx(2, "usage: flood DEVICE CPU COUNT SIZE <FRAMES");
	count = atol(argv[3]);
	size = atol(argv[4]);
	if (count <= 0 || count > COUNT_MAX || size < ETH_HLEN || size > ETH_FRAME_LEN)
		errx(2, "up to %d frames of up to %d bytes", COUNT_MAX, ETH_FRAME_LEN);
	content = malloc(FRAMES_MAX * size);
	if (!content)
		err(1, "malloc");
	frames = fread(content, size, FRAMES_MAX, stdin);
	if (!frames)
		errx(2, "no frame on standard input");
	for (size_t at = 0; at < frames + BATCH; at++) {
		/* The first ones once more at the end, so that no batch has to be cut short. */
		size_t frame = at % frames;

		parts[frame] = (struct iovec){content + frame * size, size};
		messages[at].msg_hdr = (struct msghdr){.msg_iov = &parts[frame], .msg_iovlen = 1};
	}
	fd = open_device(argv[1]);
	have_to_itself(atoi(argv[2]));
	alarm(SECONDS_MAX);

	begin = now();
	while (sent < count) {
		long batch = count - sent < BATCH ? count - sent : BATCH;
		int done = sendmmsg(fd, messages + sent % frames, batch, 0);

		if (done < 0)
			err(1, "sendmmsg");
		sent += done;
	}
	printf("%lld\n", now() - begin);
	return 0;
}
