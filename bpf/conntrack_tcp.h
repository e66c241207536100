/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* TCP connections: states and windows of both sides (docs/conntrack.md, States and bits). */
#ifndef GOSSAMER_CONNTRACK_TCP_H
#define GOSSAMER_CONNTRACK_TCP_H

#define TCP_FLAG_FIN	0x01
#define TCP_FLAG_SYN	0x02
#define TCP_FLAG_RST	0x04
#define TCP_FLAG_PSH	0x08
#define TCP_FLAG_ACK	0x10
#define TCP_FLAG_URG	0x20

#define MAX_WSCALE	14
#define MAX_ACK_WINDOW	(0xffff + 1500)
#define MAX_TCP_OPTION_BYTES 40

/* What a packet made of its connection. */
enum ct_move { CT_MOVE_ESTABLISHED, CT_MOVE_NEW, CT_MOVE_INVALID, CT_MOVE_RESTART };

struct wscale_walk {
	struct __sk_buff *skb;
	__u32 off;
	__s32 left;
	__u32 wscale;
};

static long wscale_option(__u32 i, struct wscale_walk *walk)
{
	__u8 option[3];
	__u32 length;

	if (walk->left < 3 || load(walk->skb, walk->off, option, 3) || !option[0])
		return 1;
	length = option[0] == 1 ? 1 : option[1] < 2 ? 2 : option[1];
	if (option[0] == 3)
		walk->wscale = (option[2] > MAX_WSCALE ? MAX_WSCALE : option[2]) | CT_WSCALE_FLAG;
	walk->off += length;
	walk->left -= length;
	return 0;
}

struct tcp_start {		/* of the header */
	__be16 src, dst;
	__be32 seq, ack;
	__u8 doff, flags;
	__be16 window;
};

static __always_inline void segment(struct ct_work *w, const struct tcp_start *tcp, __u32 length)
{
	w->seq = bpf_ntohl(tcp->seq);
	w->ack = bpf_ntohl(tcp->ack);
	w->win = bpf_ntohs(tcp->window);
	w->tcp_flags = tcp->flags;
	w->payload = length - (tcp->doff >> 4) * 4;
	w->wscale = 0;
	w->has_options = tcp->doff >> 4 > 5;
}

/* Read the TCP header of the packet in hand into its work; 0, or -1 where it cannot be. */
__attribute__((noinline)) int ct_read_segment(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct wscale_walk walk = { .skb = skb };
	struct tcp_start tcp;

	if (!st || !w || st->l4_proto != 6 || load(skb, st->l4, &tcp, sizeof(tcp)))
		return -1;
	segment(w, &tcp, st->l4_length);
	if (tcp.flags & TCP_FLAG_SYN) {
		walk.off = st->l4 + 20;
		walk.left = (tcp.doff >> 4) * 4 - 20;
		bpf_loop(MAX_TCP_OPTION_BYTES, wscale_option, &walk, 0);
		w->wscale = walk.wscale;
	}
	return 0;
}

static __always_inline bool tcp_flags_are_wrong(__u32 flags)
{
	if (flags & TCP_FLAG_SYN)
		return flags & (TCP_FLAG_RST | TCP_FLAG_FIN) ||
		       (!(flags & TCP_FLAG_ACK) && flags & (TCP_FLAG_PSH | TCP_FLAG_URG));
	if (!(flags & (TCP_FLAG_ACK | TCP_FLAG_RST)))
		return true;
	return !(flags & TCP_FLAG_ACK) && flags & (TCP_FLAG_FIN | TCP_FLAG_PSH | TCP_FLAG_URG);
}

/* A connection may begin with anything but SYN+ACK: it may have been there before we were. */
static __always_inline bool tcp_may_begin(__u32 flags)
{
	return !tcp_flags_are_wrong(flags) &&
	       (flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) != (TCP_FLAG_SYN | TCP_FLAG_ACK);
}

static __always_inline __u32 unscaled(__u32 win, __u32 scale)
{
	return (win + (1u << scale) - 1) >> scale;
}

/* The two sides of a connection that this segment begins. */
static __always_inline void tcp_begin(struct ct_peer *src, struct ct_peer *dst, struct ct_work *w)
{
	__u32 win = w->win ? w->win : 1;

	src->seqlo = w->seq;
	src->seqhi = w->seq + w->payload + 1;
	if (w->tcp_flags & TCP_FLAG_SYN) {
		src->seqhi += 1;
		src->wscale = w->wscale;
		win = unscaled(win, w->wscale & CT_WSCALE_MASK);
	} else {
		src->wscale = CT_WSCALE_UNKNOWN;
		dst->wscale = CT_WSCALE_UNKNOWN;
	}
	if (w->tcp_flags & TCP_FLAG_FIN)
		src->seqhi += 1;
	src->max_win = win;
	src->state = CT_TCP_SYN_SENT;
	dst->seqhi = 1;
	dst->max_win = 1;
	dst->state = CT_TCP_CLOSED;
}

/* Sequence numbers are compared modulo 2^32. */
#define SEQ_BEFORE(a, b)	((__s32)((a) - (b)) < 0)
#define SEQ_REACHES(a, b)	((__s32)((a) - (b)) >= 0)

static __always_inline __u32 at_least_one(__u32 n)
{
	return n ? n : 1;
}

/* What a segment that is taken says of both sides. */
static __always_inline void tcp_advance(struct ct_peer *src, struct ct_peer *dst, __u32 flags,
					__u32 end, __u32 ack, __u32 win, __u32 shift)
{
	if (src->max_win < win)
		src->max_win = win;
	win <<= shift;
	if (SEQ_BEFORE(src->seqlo, end))
		src->seqlo = end;
	if (SEQ_REACHES(ack + win, dst->seqhi))
		dst->seqhi = ack + at_least_one(win);
	if ((flags & TCP_FLAG_FIN) && src->state < CT_TCP_CLOSING)
		src->state = CT_TCP_CLOSING;
	if (flags & TCP_FLAG_RST)
		src->state = dst->state = CT_TCP_TIME_WAIT;
}

static __always_inline __u32 tcp_timeout(const struct ct_peer *src, const struct ct_peer *dst)
{
	__u32 low = src->state < dst->state ? src->state : dst->state;
	__u32 high = src->state < dst->state ? dst->state : src->state;

	if (low >= CT_TCP_FIN_WAIT_2)
		return CT_TIMEOUT_TCP_CLOSE;
	if (low >= CT_TCP_CLOSING)
		return CT_TIMEOUT_TCP_TIME_WAIT;
	if (low < CT_TCP_ESTABLISHED)
		return CT_TIMEOUT_TCP_SYN_RECV;
	return high >= CT_TCP_CLOSING ? CT_TIMEOUT_TCP_FIN_WAIT : CT_TIMEOUT_TCP_ESTABLISHED;
}

/* The side `src` has sent a segment of an existing connection.  No call may be made here: its lock
 * is held.  *timeout becomes the one that begins, or stays. */
static __always_inline enum ct_move tcp_move(struct ct_peer *src, struct ct_peer *dst,
					     struct ct_work *w, bool check_windows, __u32 *timeout)
{
	__u32 flags = w->tcp_flags, win = w->win, sws = 0, dws = 0;
	__u32 seq = w->seq, ack = w->ack, end;
	bool check_skew = true;
	__s32 skew = 0;

	if (tcp_flags_are_wrong(flags))
		return CT_MOVE_INVALID;
	if ((flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN) {
		if (dst->state >= CT_TCP_FIN_WAIT_2 && src->state >= CT_TCP_FIN_WAIT_2)
			return CT_MOVE_RESTART;
		if (src->state <= CT_TCP_SYN_SENT) {
			src->state = CT_TCP_SYN_SENT;
			*timeout = CT_TIMEOUT_TCP_SYN_SENT;
			return CT_MOVE_NEW;
		}
	}
	if (!(flags & TCP_FLAG_SYN)) {
		__u32 both = src->wscale & dst->wscale;

		if (both & CT_WSCALE_FLAG) {
			sws = src->wscale & CT_WSCALE_MASK;
			dws = dst->wscale & CT_WSCALE_MASK;
		} else if (both & CT_WSCALE_UNKNOWN) {
			sws = dws = MAX_WSCALE;
		}
	}
	end = seq + w->payload + !!(flags & TCP_FLAG_SYN) + !!(flags & TCP_FLAG_FIN);
	if (src->state < CT_TCP_SYN_SENT) {
		__u32 top;

		/* its first: where it stands in the window is not known yet */
		if ((flags & TCP_FLAG_SYN) && (dst->wscale & CT_WSCALE_FLAG)) {
			src->wscale = w->wscale;
			if (w->wscale & CT_WSCALE_FLAG) {
				sws = w->wscale & CT_WSCALE_MASK;
				win = unscaled(win, sws);
				dws = dst->wscale & CT_WSCALE_MASK;
			} else {
				dst->max_win <<= dst->wscale & CT_WSCALE_MASK;
				dst->wscale = 0;
			}
		}
		src->seqlo = seq;
		src->state = CT_TCP_SYN_SENT;
		top = end + at_least_one((__u32)dst->max_win << dws);
		if (src->seqhi == 1 || SEQ_REACHES(top, src->seqhi)) {
			src->seqhi = top;
			check_skew = false;
		}
		if (win > src->max_win)
			src->max_win = win;
	}
	if (!(flags & TCP_FLAG_ACK) || (!ack && (flags & TCP_FLAG_RST)))
		ack = dst->seqlo;
	if (seq == end)
		seq = end = src->seqlo;
	if (check_skew)
		skew = dst->seqlo - ack;
	if (!check_windows ||
	    (SEQ_REACHES(src->seqhi, end) &&
	     SEQ_REACHES(seq, src->seqlo - ((__u32)dst->max_win << dws)) &&
	     skew >= -MAX_ACK_WINDOW && skew <= (MAX_ACK_WINDOW << sws) &&
	     (!(flags & TCP_FLAG_RST) || w->seq - src->seqlo + 1 <= 2))) {
		tcp_advance(src, dst, flags, end, ack, win, sws);
		if ((flags & TCP_FLAG_ACK) && dst->state == CT_TCP_SYN_SENT)
			dst->state = CT_TCP_ESTABLISHED;
		else if ((flags & TCP_FLAG_ACK) && dst->state == CT_TCP_CLOSING)
			dst->state = CT_TCP_FIN_WAIT_2;
		*timeout = tcp_timeout(src, dst);
		return CT_MOVE_ESTABLISHED;
	}
	/* Picked up in the middle, or what comes just after the end: taken, but nothing lives longer
	 * for it. */
	if ((dst->state < CT_TCP_SYN_SENT || dst->state >= CT_TCP_FIN_WAIT_2 ||
	     src->state >= CT_TCP_FIN_WAIT_2) &&
	    SEQ_REACHES(src->seqhi + MAX_ACK_WINDOW, end) &&
	    SEQ_REACHES(seq, src->seqlo - MAX_ACK_WINDOW)) {
		tcp_advance(src, dst, flags, end, ack, win, sws);
		return CT_MOVE_ESTABLISHED;
	}
	return CT_MOVE_INVALID;
}

#endif
