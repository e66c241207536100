"""Of ovs-appctl, beside the peer and on packets that really pass."""
