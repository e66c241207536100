"""The commands of ``ovs-appctl`` that are the daemon's own: datapath, traces, log, counters.

Those that only read the bridges are in switch/show.py.  docs/appctl.md lists
all of them, and where they differ from the peer's.
"""
