"""What a ct() action asks of tracking, for a packet with a key: zones and marks may be read there."""

from __future__ import annotations

from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.change import apply_change, target
from gossamer.pipeline.conntrack.tracker import Request
from gossamer.pipeline.fields import BY_NAME, get
from gossamer.pipeline.steps import Step

_MARK, _LABEL = BY_NAME["ct_mark"], BY_NAME["ct_label"]


def request_of(action: Ct, key: int, step: Step) -> Request:
    """What `action` asks, as things stand; `step` hears of changes that cannot be."""
    zone = action.zone
    if action.zone_field is not None:
        sub = action.zone_field
        zone = (key >> sub.shift) & ((1 << sub.n_bits) - 1)
    changed = key
    masks = {_MARK.name: 0, _LABEL.name: 0}
    for change in action.actions:
        changed = apply_change(changed, change, step)
        to = target(change)
        assert to is not None, "exec(...) has changes of ct_mark and ct_label alone"
        masks[to[0].name] |= to[1]
    mark, label = (
        (get(changed, field) & masks[field.name], masks[field.name]) for field in (_MARK, _LABEL)
    )
    goes_on = action.table is not None
    return Request(
        action.commit, action.force, zone, action.nat, action.alg, mark, label, goes_on
    )
