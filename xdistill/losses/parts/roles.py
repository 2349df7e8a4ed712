"""Who is who in a distiller: its teachers and losses by name, and what is refused of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from xdistill.losses.parts.loss import Loss


def by_name(teacher: nn.Module | Mapping[str, nn.Module] | None) -> dict[str, nn.Module]:
    """The teachers by their names; one alone is named after its modality."""
    if teacher is None:
        return {}
    if isinstance(teacher, nn.Module) and not isinstance(teacher, nn.ModuleDict):
        check_encoder("teacher", teacher)
        return {str(teacher.modality): teacher}
    return dict(teacher.items())


def losses_by_name(
    loss: Loss | Mapping[str, Loss], teachers: Mapping[str, nn.Module]
) -> dict[str, Loss]:
    """The losses by the names of their teachers, or "student" where there is none.

    Raises:
        ValueError: a single loss for several teachers, or other names than theirs.
    """
    if isinstance(loss, Loss):
        if len(teachers) > 1:
            raise ValueError(
                f"{len(teachers)} teachers ({', '.join(teachers)}) need one loss each: pass a dict "
                "with the same names"
            )
        return {next(iter(teachers), "student"): loss}
    if set(loss) != set(teachers):
        raise ValueError(
            f"losses are named {sorted(loss)} but teachers {sorted(teachers)}; use the same names"
        )
    return dict(loss)


def refuse_own_teacher(network: str, because: str, *losses: Loss) -> None:
    """Refuse losses that read a teacher where they would get the same network's outputs twice."""
    reading = [leaf.label for one in losses for leaf in one.leaves() if not leaf.task]
    if reading:
        raise ValueError(
            f"{', '.join(reading)} would compare the {network} with itself, since {because}; take "
            "task losses alone (one of your own sets task = True) or pass the teacher: "
            "where the dataset holds cached outputs of it, these are used and it does not run"
        )


def check_encoder(role: str, encoder: Any) -> None:
    """Refuse a network that does not say its modality and the width of its embedding."""
    missing = [name for name in ("modality", "dim") if not hasattr(encoder, name)]
    if missing:
        raise ValueError(
            f"{role} {type(encoder).__name__} has no attribute {' and no '.join(missing)}; an "
            "encoder is an nn.Module with modality: str, dim: int and forward(x) -> Outputs"
        )
