/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Gives each frame that the kernel makes for generator.c a five-tuple: the next of `flows`, or
 * with 0 a new one each time.  With `syn` it is a TCP SYN, whose checksum is right.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define LENGTH 60

__u32 flows = 0;
__u32 syn = 0;
__u32 next = 0;			/* one generator, one CPU */

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	unsigned char *f = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 n = next++, port, sum = 0;

	if (f + LENGTH > end)
		return XDP_DROP;
	n = flows ? n % flows : n & 0xffffff;
	port = 1024 + n % 60000;
	f[27] = 1 + (n >> 16);
	f[28] = n >> 8;
	f[29] = n;
	f[34] = port >> 8;
	f[35] = port;
	f[24] = f[25] = 0;
#pragma unroll
	for (int i = 14; i < 34; i += 2)
		sum += f[i] << 8 | f[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	f[24] = sum >> 8;
	f[25] = sum;
	if (!syn)
		return XDP_PASS;
	f[50] = f[51] = 0;
	sum = 6 + LENGTH - 34;
#pragma unroll
	for (int i = 26; i < LENGTH; i += 2)
		sum += f[i] << 8 | f[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	f[50] = sum >> 8;
	f[51] = sum;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
