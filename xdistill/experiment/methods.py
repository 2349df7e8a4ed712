"""What a method is: one or several losses by name, beside the task's cross-entropy.

A name is that of a registered loss, a plugin's included, or of a variant of one ("sacd/bank_0").
Names joined by "+" are trained together: "dist+sacd/bank_0". A name of `targets.PREPARED` changes
the teacher's outputs before: "calibrated+pseudo_label/soft". "recipe" is `RECIPE`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

from xdistill.experiment.hidden_layers import Pairs
from xdistill.experiment.setting import Setting
from xdistill.experiment.targets import unprepared
from xdistill.experiment.variants import VARIANTS
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.schedule import warmup
from xdistill.registry import create_loss, losses

ALONE = "student"
"""The student alone, without a teacher."""
LABELLED = "labelled"
"""The student alone on the labelled rows alone, for as many steps as with all rows."""
UNTAUGHT = (ALONE, LABELLED)
"""The methods without a teacher."""
BASELINES = (LABELLED, "pseudo_label", "pseudo_label/soft", "calibrated+pseudo_label/soft")
"""What a reader would try before any method: the labelled rows alone, or the teacher's classes or
probabilities in the place of missing labels. A method has to beat the best of them."""
RECIPE = "recipe"
"""What we recommend: `RECIPE_LOSSES` on the targets that validation prefers (`Trial.targets`)."""
RECIPE_LOSSES = "pseudo_label/soft+dist"
BOUND = "bound"
"""The student alone with all labels, beside students from which some are hidden."""
ROWS: Mapping[str, str] = {BOUND: "all labels"}
"""What a table calls a row, where it is another name than in the results."""
TEACHER = "teacher"
"""A teacher, trained alone on its own modality."""


def create_losses(
    method: str, setting: Setting, strength: float = 1.0, task: CrossEntropy | None = None
) -> dict[str, Loss]:
    """One loss per teacher of a setting; a Distiller adds them up.

    The first one contains the task's loss: cross-entropy with weight 1, or, wherever `kd` is one of
    the names, the customary mix of 0.1 cross-entropy and 0.9 `kd`. So "kd+sacd" is 0.1
    cross-entropy + 0.9 KD + SACD at its recommended weight.

    Args:
        method: names of losses, joined by "+".
        setting: its teachers, hidden layers, number of epochs and options of losses.
        strength: factor on every weight except the task's. Several teachers share it equally.
        task: the cross-entropy, where it is not the plain one.

    Raises:
        ValueError: an unknown name, none of a loss, or a loss on hidden layers in a setting without
            layers.
    """
    names = [name for name in losses_of(method).split("+") if name]
    if not names:
        raise ValueError(f"method {method!r} names no loss; name one, as in {method}+pseudo_label")
    own = (0.1 if "kd" in names else 1.0) * (task or CrossEntropy())
    found: dict[str, Loss] = {}
    for teacher in setting.teachers:
        terms = [_weighted(name, setting, strength) for name in names]
        found[teacher] = reduce(add, terms if found else [own, *terms])
    return found


def losses_of(method: str) -> str:
    """The losses of a method, without what is done to the teacher's outputs before."""
    return RECIPE_LOSSES if method == RECIPE else unprepared(method)


def check_method(method: str, setting: Setting) -> None:
    """Make the losses of a method once, so that a wrong name is found before any training.

    Raises:
        ValueError: as `create_losses` does.
    """
    if method not in UNTAUGHT:
        create_losses(method, setting)


def check_names(method: str) -> None:
    """Refuse a method that names no loss or an unknown one, before there is a setting.

    Raises:
        ValueError: an unknown name (with the near ones), or none of a loss.
    """
    if method in UNTAUGHT:
        return
    names = [name for name in losses_of(method).split("+") if name]
    if not names:
        raise ValueError(f"method {method!r} names no loss; name one, as in {method}+pseudo_label")
    for name in names:
        losses.get(_loss_of(name))
        _check_variant(name)


def _check_variant(name: str) -> None:
    if name != _loss_of(name) and name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known variants: {', '.join(VARIANTS)}")


def _weighted(name: str, setting: Setting, strength: float) -> Loss:
    term = create_term(name, setting.layers, setting.loss_options.get(_loss_of(name), {}))
    weight = 0.9 if name == "kd" else term.recommended_weight
    epochs = warmup_epochs(term, setting)
    return strength / len(setting.teachers) * weight * (warmup(term, epochs) if epochs else term)


def warmup_epochs(term: Loss, setting: Setting) -> int:
    """The recommended warm-up, or the part of it that the setting allows."""
    if setting.warmup_share is None:
        return term.recommended_warmup_epochs
    return min(term.recommended_warmup_epochs, int(setting.warmup_share * setting.epochs))


def create_term(name: str, layers: Pairs = (), options: Mapping[str, Any] | None = None) -> Loss:
    """One loss by its name.

    Args:
        name: a registered loss, or a variant of one.
        layers: pairs of hidden layers, for a loss that compares them.
        options: of the loss, where they differ from its defaults; a variant's come on top.

    Raises:
        ValueError: an unknown name, or a loss on hidden layers without layers.
    """
    loss = _loss_of(name)
    _check_variant(name)
    own = {**(options or {}), **VARIANTS.get(name, {})}
    kind = losses.get(loss)
    if "hidden" in kind.needs and "layers" in inspect.signature(kind).parameters:
        if not layers:
            raise ValueError(
                f"method {name!r} compares hidden layers; name pairs of them in Setting.layers or "
                "with --layers student:teacher, as in --layers layer2:layer1 layer4:layer3"
            )
        own["layers"] = list(layers)
    return create_loss(loss, **own)


def _loss_of(name: str) -> str:
    """The loss of a variant, or the name itself."""
    return name.partition("/")[0]
