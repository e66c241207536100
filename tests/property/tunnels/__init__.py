"""Of tunnels, packet by packet."""
