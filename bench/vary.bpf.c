/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Gives each run of a packet a five-tuple before the datapath sees it: a test run repeats one
 * packet, and what is asked for is what the first packet of a flow costs.
 *
 * A test run finds the datapath's code and data where it left them, in the nearest caches.  Real packets
 * come with the kernel's work for them in between; `others` stands for that: 40 KiB of code, 32 of data.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define SOURCE 26		/* of the frame: the last three bytes of it are written */
#define LENGTH 36

struct turn {
	__u32 flows;		/* in turn; 0: each a new one */
	__u32 next;
	__u32 keeps;		/* the packet is left as it is */
	__u32 others;		/* first comes other code, with other data */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turn);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} datapath SEC(".maps");

#define OTHER_BYTES 32768

struct others {
	char bytes[OTHER_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct others);
} others SEC(".maps");

static __always_inline __u64 run_others(void)
{
	__u64 a = 1, b = 2, c = 3, d = 4;
	__u32 zero = 0;
	struct others *others_data = bpf_map_lookup_elem(&others, &zero);

	/* four bytes of x86 code each; chains apart, that it may be run as fast as it is fetched */
	asm volatile(".rept 2560\n%0 += 1\n%1 += 1\n%2 += 1\n%3 += 1\n.endr"
		     : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	if (!others_data)
		return 0;
	for (__u32 i = 0; i < OTHER_BYTES; i += 64)
		a += *(volatile char *)&others_data->bytes[i];
	return a + b + c + d;
}

SEC("tc")
int vary(struct __sk_buff *skb)
{
	unsigned char *f = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 zero = 0, n;
	struct turn *turn = bpf_map_lookup_elem(&turns, &zero);

	if (!turn || f + LENGTH > end)
		return TC_ACT_SHOT;
	if (turn->others && !run_others())
		return TC_ACT_SHOT;
	if (turn->keeps)
		goto out;
	n = turn->next++;
	if (turn->flows && turn->next >= turn->flows)
		turn->next = 0;
	f[SOURCE + 1] = 1 + (n >> 16);
	f[SOURCE + 2] = n >> 8;
	f[SOURCE + 3] = n;
out:
	bpf_tail_call(skb, &datapath, 0);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
