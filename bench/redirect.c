// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The least a TC program can do: the limit every datapath on this hook has. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc/redirect")
int redirect(struct __sk_buff *skb)
{
	return bpf_redirect(TARGET, 0);
}

SEC("tc/redirect_peer")
int redirect_peer(struct __sk_buff *skb)
{
	bpf_skb_change_type(skb, 0);
	return bpf_redirect_peer(TARGET, 0);
}

/* At the receiver, for every peer alike: count and drop. */
SEC("tc/drop")
int drop(struct __sk_buff *skb)
{
	return skb->len <= 64 ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
