"""Connection tracking in the kernel, as the daemon reads and steers it."""

from gossamer.datapath.conntrack.conntrack import Conntrack

__all__ = ["Conntrack"]
