/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Comparisons in words that the compiler makes neither calls nor branches of. */
#ifndef GOSSAMER_COMPARE_H
#define GOSSAMER_COMPARE_H

/* memcmp() would become a call that BPF does not have. */
static __always_inline bool differ(const void *a, const void *b, const __u32 len)
{
	const __u16 *x = a, *y = b;
	__u16 d = 0;

#pragma unroll
	for (__u32 i = 0; i < len / 2; i++)
		d |= x[i] ^ y[i];
	return d != 0;
}

/* 1 where it is not zero: without a branch, of which the verifier would follow both ways. */
static __always_inline __u32 nonzero(__u32 value)
{
	__u64 sum = value;

	asm volatile("%0 += -1\n%0 >>= 63" : "+r"(sum));	/* 1 for zero */
	return sum ^ 1;
}

#endif
