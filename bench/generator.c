/* SPDX-License-Identifier: Apache-2.0 */
/* Has the kernel itself make 60-byte UDP frames that come in by a device, as fast as it can.
 *
 * usage: generator OBJECT DEVICE DST_MAC SRC_MAC SECONDS FLOWS [syn]
 *
 * No system call and no copy a packet: what is measured is the switch, where sender.c measures
 * sender and switch together.  Frames are XDP's "live frames" (Linux 5.18), passed on to the
 * network stack of DEVICE.  FLOWS and `syn` as for sender.  Prints the frames made and the seconds it took.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LENGTH 60
#define BATCH 64
#define A_CALL 20000

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

int main(int argc, char **argv)
{
	unsigned char f[LENGTH] = {};
	struct xdp_md context = { .data_end = LENGTH };
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = f, .data_size_in = LENGTH,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = A_CALL,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	struct bpf_object *object;
	struct bpf_program *program;
	struct bpf_map *data;
	unsigned long sent = 0;
	int syn = argc == 8 && !strcmp(argv[7], "syn");
	double began, seconds;
	unsigned *flows;
	size_t size;
	int fd;

	if (argc != 7 + syn)
		return 2;
	mac(argv[3], f);
	mac(argv[4], f + 6);
	f[12] = 8;
	f[14] = 0x45;
	f[17] = LENGTH - 14;
	f[22] = 64;
	f[23] = 17;
	memcpy(f + 26, (unsigned char[]){ 10, 1, 0, 0, 10, 0, 0, 2 }, 8);
	f[37] = 9;
	f[39] = LENGTH - 34;
	if (syn) {
		f[23] = 6;
		memcpy(f + 38, (unsigned char[]){ 0, 1, 0, 0, 0, 0, 0, 0, 0x50, 2, 0x20, 0 }, 12);
	}
	context.ingress_ifindex = if_nametoindex(argv[2]);
	object = bpf_object__open(argv[1]);
	program = object ? bpf_object__find_program_by_name(object, "generate") : NULL;
	data = object ? bpf_object__find_map_by_name(object, ".bss") : NULL;
	if (!program || !data || !context.ingress_ifindex)
		return 1;
	flows = bpf_map__initial_value(data, &size);
	if (!flows)
		return 1;
	flows[0] = atoi(argv[6]);
	flows[1] = syn;
	if (bpf_object__load(object))
		return 1;
	fd = bpf_program__fd(program);
	began = now();
	do {
		if (bpf_prog_test_run_opts(fd, &options)) {
			perror("generating");
			return 1;
		}
		sent += A_CALL;
		seconds = now() - began;
	} while (seconds < atof(argv[5]));
	printf("%lu %f\n", sent, seconds);
	return 0;
}
