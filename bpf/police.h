/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Ingress policing: a token bucket a port (ovs-vswitchd.conf.db(5), ingress_policing_rate).
 *
 * A packet passes while there is any token and may take the bucket into debt,
 * so that a 64 KiB segment of TCP counts for what it is and the long-run rate
 * is exact whatever the packets' size.
 */
#ifndef GOSSAMER_POLICE_H
#define GOSSAMER_POLICE_H

struct police_bucket {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 filled;		/* ns */
	__s64 bytes;		/* tokens times 1,000,000,000, so that none is lost in rounding */
	__s64 packets;
};

/* Written here; the daemon zeroes a port's bucket when its rate changes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct police_bucket);
} police_buckets SEC(".maps");

#define NS_PER_S 1000000000ll

static __always_inline bool police(struct port *port, __u32 id, __u32 length)
{
	struct police_bucket *b = bpf_map_lookup_elem(&police_buckets, &id);
	__s64 bytes_full = port->police_burst * NS_PER_S;
	__s64 packets_full = port->police_packet_burst * NS_PER_S;
	__u64 now = bpf_ktime_get_ns();
	bool pass = true;
	__u64 passed;

	if (!b)
		return true;
	bpf_spin_lock(&b->lock);
	/* Two seconds fill any bucket, and keep the product in 64 bits up to 4 GB/s. */
	passed = b->filled ? now - b->filled : 2 * NS_PER_S;
	if (!b->filled) {
		b->bytes = bytes_full;
		b->packets = packets_full;
	}
	if ((__s64)passed < 0)
		passed = 0;
	if (passed > 2 * NS_PER_S)
		passed = 2 * NS_PER_S;
	b->filled = now;
	b->bytes += passed * port->police_bytes_s;
	b->packets += passed * port->police_packets_s;
	if (b->bytes > bytes_full)
		b->bytes = bytes_full;
	if (b->packets > packets_full)
		b->packets = packets_full;
	if ((port->police_bytes_s && b->bytes <= 0) || (port->police_packets_s && b->packets <= 0)) {
		pass = false;
	} else {
		b->bytes -= length * NS_PER_S;
		b->packets -= NS_PER_S;
	}
	bpf_spin_unlock(&b->lock);
	return pass;
}

#endif
