/* SPDX-License-Identifier: Apache-2.0 */
/* Sends 60-byte UDP frames as fast as it can for a while: the same for every peer.
 *
 * usage: sender DEVICE DST_MAC SRC_MAC SECONDS FLOWS [syn] [from N]
 * FLOWS five-tuples in turn; 0: each packet a new one, beginning with the N-th, so that several
 * senders share none; `syn`: TCP SYNs, with checksums that are right.  Prints the frames sent and the seconds it took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef PACKET_QDISC_BYPASS
#define PACKET_QDISC_BYPASS 20
#endif
#define BATCH 64
#define LENGTH 60

static unsigned char frames[BATCH][LENGTH];
static int syn;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void mac(const char *text, unsigned char *out)
{
	for (int i = 0; i < 6; i++)
		out[i] = strtol(text + 3 * i, NULL, 16);
}

static void put16(unsigned char *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v;
}

/* Give a frame the n-th five-tuple: a source address and port of its own. */
static void tuple(unsigned char *f, unsigned n)
{
	unsigned sum = 0;

	f[27] = 1 + (n >> 16);
	put16(f + 28, n & 0xffff);
	put16(f + 34, 1024 + n % 60000);
	put16(f + 24, 0);
	for (int i = 14; i < 34; i += 2)
		sum += f[i] << 8 | f[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(f + 24, ~(sum + (sum >> 16)));
	if (!syn)
		return;
	put16(f + 50, 0);
	sum = 6 + LENGTH - 34;
	for (int i = 26; i < LENGTH; i += 2)
		sum += f[i] << 8 | f[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(f + 50, ~(sum + (sum >> 16)));
}

int main(int argc, char **argv)
{
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	unsigned long sent = 0;
	unsigned flows, n = 0;
	int one = 1, s;
	double began, end;

	if (argc < 6)
		return 2;
	for (int i = 6; i < argc; i++) {
		if (!strcmp(argv[i], "syn"))
			syn = 1;
		else if (!strcmp(argv[i], "from") && i + 1 < argc)
			n = strtoul(argv[++i], NULL, 10);
		else
			return 2;
	}
	flows = atoi(argv[5]);
	s = socket(AF_PACKET, SOCK_RAW, 0);
	to.sll_ifindex = if_nametoindex(argv[1]);
	if (s < 0 || !to.sll_ifindex || bind(s, (void *)&to, sizeof(to)))
		return 1;
	setsockopt(s, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	for (int i = 0; i < BATCH; i++) {
		unsigned char *f = frames[i];

		mac(argv[2], f);
		mac(argv[3], f + 6);
		put16(f + 12, 0x0800);
		f[14] = 0x45;
		put16(f + 16, LENGTH - 14);
		f[22] = 64;
		f[23] = 17;
		f[26] = 10;
		memcpy(f + 30, (unsigned char[]){ 10, 0, 0, 2 }, 4);
		put16(f + 36, 9);
		if (syn) {
			f[23] = 6;
			put16(f + 38, 1);
			put16(f + 46, 0x5002);
			put16(f + 48, 0x2000);
		} else {
			put16(f + 38, LENGTH - 34);
		}
		tuple(f, flows ? i % flows : n + i);
		vectors[i] = (struct iovec){ f, LENGTH };
		memset(&messages[i], 0, sizeof(messages[i]));
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	began = now();
	end = began + atof(argv[4]);
	while (now() < end) {
		if (flows != 1)
			for (int i = 0; i < BATCH; i++, n++)
				tuple(frames[i], flows ? n % flows : n & 0xffffff);
		int done = sendmmsg(s, messages, BATCH, 0);

		if (done > 0)
			sent += done;
	}
	printf("%lu %f\n", sent, now() - began);
	return 0;
}
