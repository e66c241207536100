/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* NORMAL: the learning VLAN switch (ovs-ofctl(8), "normal"; IEEE 802.1D 7.8, 802.1Q).
 *
 * Learning, ageing and lookup happen here, so a bridge keeps learning while
 * the daemon is away.  Entries too old are treated as absent; the daemon
 * sweeps them out.
 */
#ifndef GOSSAMER_NORMAL_H
#define GOSSAMER_NORMAL_H

struct fdb_key {
	__u16 bridge;
	__u8 mac[6];
	__u16 vlan;
	__u16 pad;
};

struct fdb_entry {
	__u32 port;		/* id */
	__u32 fixed;		/* put there by hand: neither moves nor ages */
	__u64 used;		/* coarse monotonic ns */
};

/* Written here; swept and flushed by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FDB);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct fdb_key);
	__type(value, struct fdb_entry);
} fdb SEC(".maps");

#define FDB_REFRESH_NS 500000000ull	/* spare the write for entries this young */

/* Does a port carry a VLAN?  Functions that are not inlined are verified once, by themselves;
 * inlined into the loops below they would exceed what the verifier is willing to walk. */
__attribute__((noinline)) int carries(__u32 id, __u32 vlan)
{
	struct port *port = port_get(id);
	struct port_trunks *list;

	if (!port)
		return 0;
	if (port->vlan_mode == VLAN_ACCESS)
		return vlan == port->tag;
	/* A native VLAN is always carried, and VLAN 0 never beside it: what has none is in it. */
	if (port->vlan_mode != VLAN_TRUNK && port->tag && (!vlan || vlan == port->tag))
		return vlan == port->tag;
	if (port->flags & PORT_ALL_VLANS)
		return true;
	list = bpf_map_lookup_elem(&trunks, &id);
	return list && (list->vlans[(vlan >> 6) & 63] >> (vlan & 63)) & 1;
}

/* The VLAN a packet is in, by its tag and its port; -1 where the port does not carry it. */
static __always_inline int ingress_vlan(struct port *port, __u32 id, __be16 tci)
{
	__u16 vid = bpf_ntohs(tci) & 0xfff;

	if (port->vlan_mode == VLAN_ACCESS)
		return vid ? -1 : port->tag;
	if (port->vlan_mode != VLAN_TRUNK && !vid)
		return port->tag;
	return carries(id, vid) ? vid : -1;
}

static __always_inline void learn(struct state *st, struct bridge *br, __u16 vlan)
{
	struct flow_key *k = key_of(st);
	struct fdb_key key = { .bridge = st->bridge, .vlan = vlan };
	struct fdb_entry *entry, fresh = { .port = st->in_port, .used = st->now };

	if (k->eth_src[0] & 1)
		return;
	__builtin_memcpy(key.mac, k->eth_src, 6);
	entry = bpf_map_lookup_elem(&fdb, &key);
	if (entry) {
		if (entry->fixed)
			return;
		if (entry->port != st->in_port) {
			entry->port = st->in_port;
			__sync_fetch_and_add(&br->fdb_moves, 1);
		}
		if (elapsed(st, entry->used) > FDB_REFRESH_NS)
			entry->used = st->now;
		return;
	}
	if (br->fdb_count >= br->fdb_limit)
		return;
	if (!bpf_map_update_elem(&fdb, &key, &fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&br->fdb_count, 1);
}

/* Port id behind which the destination was seen, 0 where it was not. */
static __always_inline __u32 fdb_lookup(struct state *st, struct bridge *br, __u16 vlan)
{
	struct flow_key *k = key_of(st);
	struct fdb_key key = { .bridge = st->bridge, .vlan = vlan };
	struct fdb_entry *entry;

	__builtin_memcpy(key.mac, k->eth_dst, 6);
	entry = bpf_map_lookup_elem(&fdb, &key);
	if (!entry || (!entry->fixed && elapsed(st, entry->used) > br->fdb_age_ns))
		return 0;
	return entry->port;
}

/* What NORMAL came to for two addresses, so that the next packets between them spare both
 * look-ups.  It holds for FDB_REFRESH_NS, until an address moves or the bridge changes. */
struct shortcut {
	__u64 version;		/* of the bridge; 0: free */
	__u64 until;		/* coarse monotonic ns */
	__u32 moves;		/* of the bridge, then */
	__u32 in_port;
	__u32 port;
	__u32 vlan;
	__u32 macs[3];
	__u32 untagged;		/* the packet had no tag, and leaves without one */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHORTCUTS);
	__type(key, __u32);
	__type(value, struct shortcut);
} shortcuts SEC(".maps");

static __always_inline struct shortcut *shortcut_of(struct state *st)
{
	__u32 *mac = &st->key[WORD_ETH_DST], slot;
	__u64 h = (mac[0] ^ (__u64)mac[2] << 32 ^ key_of(st)->vlan_tci) * 0xff51afd7ed558ccdull;

	h = (h ^ mac[1] ^ (__u64)st->in_port << 40) * 0xff51afd7ed558ccdull;
	slot = (h >> 32) & (SHORTCUTS - 1);
	return bpf_map_lookup_elem(&shortcuts, &slot);
}

static __always_inline bool shortcut_holds(struct shortcut *s, struct state *st, struct bridge *br)
{
	__u32 *mac = &st->key[WORD_ETH_DST];

	return s->version == st->version && st->now < s->until && s->moves == br->fdb_moves &&
	       s->in_port == st->in_port && s->macs[0] == mac[0] && s->macs[1] == mac[1] &&
	       s->macs[2] == mac[2];
}

/* NORMAL's decision on a packet without tags that has been made before, with all that it takes: the
 * bridge's version stands for its ports' VLANs too.  0: it has to be made. */
static __always_inline __u32 untagged_shortcut(struct state *st)
{
	struct bridge *br = bridge_get(st->bridge);
	struct flow_key *k = key_of(st);
	struct shortcut *s;

	if (k->vlan_tci || is_vlan(k->eth_type))
		return 0;
	s = shortcut_of(st);
	return s && br && s->untagged && shortcut_holds(s, st, br) ? s->port : 0;
}

/* `moves`: the bridge's before the address was looked up, or one that moved meanwhile would be missed. */
static __always_inline void take_shortcut(struct shortcut *s, struct state *st, __u32 moves,
					  __u32 vlan, __u32 port)
{
	s->version = st->version;
	s->until = st->now + FDB_REFRESH_NS;
	s->moves = moves;
	s->in_port = st->in_port;
	s->port = port;
	s->vlan = vlan;
	s->untagged = 0;
	__builtin_memcpy(s->macs, &st->key[WORD_ETH_DST], sizeof(s->macs));
}

/* Give the key the tag with which `vlan` leaves through port `id`; the priority bits stay, and
 * so does an inner tag. */
__attribute__((noinline)) int set_egress_tag(__u32 id, __u32 vlan, __u32 level)
{
	struct state *st = state_get(level);
	struct port *port = port_get(id);
	struct tags out = {}, *in;
	struct flow_key *k;

	if (!st || !port)
		return 0;
	k = key_of(st);
	in = &st->tags;
	if ((vlan || (in->tci & bpf_htons(0xe000))) && port->vlan_mode != VLAN_ACCESS &&
	    !(port->vlan_mode == VLAN_NATIVE_UNTAGGED && vlan == port->tag)) {
		out.tci = bpf_htons(vlan | (bpf_ntohs(in->tci) & 0xe000) | VLAN_CFI);
		out.tpid = in->tpid ? in->tpid : bpf_htons(0x8100);
		out.inner_tci = in->inner_tci;
		out.inner_tpid = in->inner_tpid;
	} else {
		out.tci = in->inner_tci;
		out.tpid = in->inner_tpid;
	}
	if (k->vlan_tci == out.tci && k->vlan_tpid == out.tpid && k->vlan1_tci == out.inner_tci &&
	    k->vlan1_tpid == out.inner_tpid)
		return 0;
	touch(st, GROUP_VLAN);
	k->vlan_tci = out.tci;
	k->vlan_tpid = out.tpid;
	k->vlan1_tci = out.inner_tci;
	k->vlan1_tpid = out.inner_tpid;
	return 0;
}

/* Link-local protocols: IEEE 802.1D's, EDP and EAPS, Cisco's (ovs-vswitchd.conf.db(5),
 * other_config:forward-bpdu). */
static __always_inline bool reserved_mac(struct flow_key *k)
{
	__u8 *m = k->eth_dst;
	__u32 oui = m[0] << 16 | m[1] << 8 | m[2], nic = m[3] << 16 | m[4] << 8 | m[5];

	if (oui == 0x0180c2)
		return nic <= 0xf;
	if (oui == 0x01000c)
		return nic == 0 || nic == 0xcccccc || nic == 0xcccccd || nic == 0xcdcdcd ||
		       (nic >= 0xccccc0 && nic <= 0xccccc7);
	return oui == 0x00e02b && (nic == 0 || nic == 4 || nic == 6);
}

#endif
