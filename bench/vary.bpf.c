/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Gives each run of a packet a five-tuple before the datapath sees it: a test run repeats one
 * packet, and what is asked for is what the first packet of a flow costs.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define SOURCE 26		/* of the frame: the last three bytes of it are written */
#define LENGTH 36

struct turn {
	__u32 flows;		/* in turn; 0: each a new one */
	__u32 next;
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

SEC("tc")
int vary(struct __sk_buff *skb)
{
	unsigned char *f = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 zero = 0, n;
	struct turn *turn = bpf_map_lookup_elem(&turns, &zero);

	if (!turn || f + LENGTH > end)
		return TC_ACT_SHOT;
	n = turn->next++;
	if (turn->flows && turn->next >= turn->flows)
		turn->next = 0;
	f[SOURCE + 1] = 1 + (n >> 16);
	f[SOURCE + 2] = n >> 8;
	f[SOURCE + 3] = n;
	bpf_tail_call(skb, &datapath, 0);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
