"""The public OpenFlow 1.3 switch test suite, played against Open vSwitch and against ours.

The cases are data of the os-ken package (os_ken/tests/switch/of13); `make
conformance` installs it into an environment of its own, whose Python runs
this package.  Nothing of it is kept here.

A case is a list of messages that set the switch up, and packets with what is
expected of them.  The suite's own tester needs a second OpenFlow switch and
two seconds a case; this one holds the switch's ports by packet sockets, and is
through in minutes.  It judges as the suite does, but for four things, each said
where it is done: the suite's wrong SCTP checksums, frames below Ethernet's
least length, bursts of meters that have none, and rates measured for seconds.

    cases    read them
    channel  the controller's end of an OpenFlow connection
    wires    the switch's ports
    targets  the switches under test
    play     one case on one switch
    rates    cases that measure a throughput
    report   who passed what
"""
