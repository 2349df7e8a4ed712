"""NaN and infinity in training: found without waiting for the device, and named."""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from xdistill.types import Outputs, PairedBatch, StepOutput

ADVICE = "lower lr, clip gradients (gradient_clip_val=1.0) or use precision='32'"


class Seen(NamedTuple):
    """A training step, with its answers still on the device.

    Attributes:
        place: "step 7 (epoch 1)".
        rows: per network, the rows of the batch whose outputs are NaN or infinite.
        terms: per term of the loss, whether it is.
        excluded: per teacher, the rows in which a logit of −∞ rules a class out.
        index: [B] position of the rows in the dataset.
    """

    place: str
    rows: dict[str, Bool[Tensor, " b"]]
    terms: dict[str, Bool[Tensor, ""]]
    excluded: dict[str, Bool[Tensor, " b"]]
    index: Tensor


class Guard(L.Callback):
    """Ends the run at NaN or infinity in outputs, loss terms, gradients or weights.

    What a step shows stays on the device until it is read: after every `every` steps, at the end of
    an epoch, and before validation and any checkpoint, so that none is written of a student of NaN.
    The student is left with the weights of the beginning of the epoch.

    Args:
        every: steps between two reads.
    """

    def __init__(self, every: int = 50):
        self.every = every
        self._seen: list[Seen | tuple[str, Tensor]] = []
        self._start: dict[str, Any] = {}

    def look(self, place: str, batch: PairedBatch, out: StepOutput) -> None:
        """Note a step."""
        networks = {"student": out.student}
        networks |= {f"teacher {name!r}": one for name, one in out.teachers.items()}
        index = torch.arange(len(batch)) if batch.index is None else batch.index
        self._seen.append(
            Seen(
                place,
                {name: bad_rows(one.detach()) for name, one in networks.items()},
                {name: ~one.isfinite() for name, one in {**out.terms, "loss": out.loss}.items()},
                {
                    name: (one.logits.detach() == -torch.inf).flatten(1).any(1)
                    for name, one in out.teachers.items()
                    if one.logits is not None
                },
                index,
            )
        )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Keep the student as it is."""
        student = pl_module.distiller.student
        self._start = {
            name: one.detach().cpu().clone() if isinstance(one, Tensor) else one
            for name, one in student.state_dict().items()
        }

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note whether the gradient is finite; a scaler (precision="16-mixed") does so itself."""
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if grads and getattr(trainer.precision_plugin, "scaler", None) is None:
            # The largest entry: a sum of squares would overflow in half precision.
            norm = torch.nn.utils.get_total_norm(grads, norm_type=torch.inf)
            self._seen.append((pl_module.place(), ~norm.isfinite()))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read now and then."""
        if (batch_idx + 1) % self.every == 0:
            self.read(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Read before validation, after which others write checkpoints."""
        if trainer.training or trainer.validating:
            self.read(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Read before the epoch's student is kept."""
        self.read(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give the student its weights of the beginning of the epoch."""
        if isinstance(exception, FloatingPointError) and self._start:
            pl_module.distiller.student.load_state_dict(self._start)

    def read(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Wait for the device and judge the steps since the last read, on all ranks alike.

        Raises:
            FloatingPointError: NaN or infinity on any rank.
        """
        seen, self._seen = self._seen, []
        weights = bad_weights(pl_module.distiller.student)
        flags = [flag.to(pl_module.device) for one in seen for flag in _flags(one)]
        bad = torch.stack([*flags, weights.to(pl_module.device)]).any()
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad.float(), reduce_op="sum")
        if bool(bad):
            raise FloatingPointError(_message(seen, pl_module.distiller.student))


def bad_rows(outputs: Outputs) -> Bool[Tensor, " b"]:
    """[B] whether a row of any tensor holds NaN or +∞; a logit of −∞ may rule a class out."""
    tensors = [outputs.embedding, outputs.logits, *outputs.hidden.values()]
    bad = [~(one < torch.inf).flatten(1).all(1) for one in tensors if one is not None]
    return torch.stack(bad).any(0)


def bad_weights(module: nn.Module) -> Bool[Tensor, ""]:
    """Whether a parameter is NaN or infinite, or a buffer NaN: a mask may hold −∞."""
    bad = [~one.detach().isfinite().all() for one in module.parameters()]
    bad += [one.isnan().any() for one in module.buffers() if one.is_floating_point()]
    return torch.stack(bad).any()


def _flags(one: Seen | tuple[str, Tensor]) -> list[Tensor]:
    if isinstance(one, Seen):
        return [*(rows.any() for rows in one.rows.values()), *one.terms.values()]
    return [one[1]]


def _message(seen: list[Seen | tuple[str, Tensor]], student: nn.Module) -> str:
    kept = "The student has the weights with which the epoch began."
    first = next((one for one in seen if any(map(bool, _flags(one)))), None)
    if isinstance(first, Seen):
        return f"{_cause(first)} {kept}"
    if first is not None:
        return f"the gradient is NaN or infinite in {first[0]}; {ADVICE}. {kept}"
    if bool(bad_weights(student)):
        return f"weights of the student are NaN after a finite loss and gradient; {ADVICE}. {kept}"
    return f"another process found NaN or infinity; its message has where. {kept}"


def _cause(step: Seen) -> str:
    """What went wrong first: a teacher, the student, or a term of finite outputs."""
    for name, rows in reversed(step.rows.items()):
        if bool(rows.any()):
            what = f"the {name} returned NaN or infinity for {_named(step.index[rows])}"
            if name == "student":
                return f"{what} in {step.place}; {ADVICE}."
            return (
                f"{what} in {step.place}; look at those rows' inputs or cached outputs "
                "(xdistill.audit reads them), or train that teacher again."
            )
    terms = [name for name, bad in step.terms.items() if bool(bad) and name != "loss"]
    for name, rows in step.excluded.items():
        if bool(rows.any()):
            return (
                f"{', '.join(terms) or 'the loss'} is NaN or infinite in {step.place}: the teacher "
                f"{name!r} rules classes out for {_named(step.index[rows])} (logits of −∞), which "
                "has no finite value there; clamp its logits, or take a loss that has one, as kd."
            )
    return (
        f"the training loss is NaN or infinite in {step.place}, from {', '.join(terms) or 'a sum'} "
        f"of {_named(step.index)}; {ADVICE}."
    )


def _named(index: Tensor) -> str:
    rows = index.tolist()
    return (
        f"row {rows[0]}"
        if len(rows) == 1
        else f"rows {str(rows[:8])[1:-1]}" + (f", … ({len(rows)} in all)" if len(rows) > 8 else "")
    )
