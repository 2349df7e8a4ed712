"""A loss from which the target is hidden."""

from __future__ import annotations

from xdistill.losses.parts.loss import Loss


def without_labels(loss: Loss) -> Loss:
    """The same loss, which from now on sees every row as unlabelled.

    A contrastive loss such as `SupCon`, `KHN` or `SACD` reads classes where there are any, and
    refuses a target of another kind. Pairs alone are defined for every target: hide it.

    Args:
        loss: it, or the losses that it is composed of, are changed in place.

    Raises:
        ValueError: one of them is nothing without a target.
    """
    for leaf in loss.leaves():
        if "labels" in leaf.needs:
            raise ValueError(
                f"{leaf.label} needs labels, so they cannot be hidden from it; call without_labels "
                "on the other losses before they are added"
            )
        leaf.reads = ()
    return loss
