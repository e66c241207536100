#!/bin/sh
# Every QoS type on a kernel that has the queueing disciplines: run by tests/guest/run.
set -eu
for module in sch_sfq sch_codel sch_fq_codel sch_netem sch_hfsc sch_tbf sch_htb; do
	modprobe "$module"
done
exec sh tests/sandbox.sh .venv/bin/python -m tests.guest.qos
