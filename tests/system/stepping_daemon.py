"""gossamerd, which takes one step of long work a round.

usage: python -m tests.system.stepping_daemon [OPTION...]    options as gossamerd's

Otherwise it takes as many as fit into some milliseconds: on a fast machine work that is meant to
let others through may be over before anybody comes.
"""

from __future__ import annotations


def main() -> None:
    """Run it."""
    from gossamer.daemon import slices
    from gossamer.daemon.main import main as gossamerd

    slices.SLICE_S = -1.0  # type: ignore[misc]
    gossamerd()


if __name__ == "__main__":
    main()
