"""An encoder of standardised inputs, whose statistics are saved with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xdistill.registry import create_encoder, encoders
from xdistill.types import Outputs

if TYPE_CHECKING:
    from xdistill.data.paired import PairedDataset


@encoders.register_prefix("standardized")
class Standardized(nn.Module):
    """Another encoder behind a layer that gives each channel mean 0 and standard deviation 1.

    The statistics are those of the rows that `fit_statistics` gets, which should be the training
    rows alone. They are buffers, so they are saved with the weights, and a student that is loaded
    again needs no word of them. A channel is the axis after the batch: a feature of a table [B, C],
    a derivation of a signal [B, C, T].

        student = xd.create_encoder("standardized/mlp", in_features=6, num_classes=3)
        student.fit_statistics(splits.train)

    Args:
        name: of the encoder that gets the standardised inputs.
        options: those of that encoder; `in_features` or `in_channels` is needed.

    Raises:
        ValueError: the number of channels is missing.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, name: str, **options: Any):
        super().__init__()
        channels = options.get("in_features", options.get("in_channels"))
        if channels is None:
            raise ValueError(
                f"standardized/{name} needs to know how many channels to standardise; pass "
                "in_channels (or in_features) to it"
            )
        self.encoder = create_encoder(name, **options)
        self.modality = self.encoder.modality
        self.dim = self.encoder.dim
        self.num_classes = getattr(self.encoder, "num_classes", None)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("fitted", torch.tensor(False))
        self._ready = False

    @torch.no_grad()
    def fit_statistics(self, dataset: PairedDataset) -> Standardized:
        """Take mean and standard deviation of each channel from the rows of a dataset.

        Every row that has the modality is read once, with its transform. A channel that is constant
        is only centred.

        Raises:
            ValueError: no row has the modality, another number of channels, or NaN or infinity.
        """
        rows = dataset.rows_with(self.modality).nonzero().flatten().tolist()
        if self.modality not in dataset.inputs or not rows:
            raise ValueError(
                f"no row of the dataset has {self.modality!r}; its inputs are "
                f"{list(dataset.modalities)}"
            )
        count, mean, scatter = 0, self.mean.new_zeros(()).double(), 0.0
        for row in rows:
            sample = dataset.read(self.modality, row)
            if len(sample) != len(self.mean) or not bool(sample.isfinite().all()):
                raise ValueError(
                    f"row {row} ({dataset.ids[row]}) of {self.modality} has shape "
                    f"{tuple(sample.shape)}, expected {len(self.mean)} channels of finite values; "
                    "create the encoder for them, or clean the row (xd.audit)"
                )
            # Chan et al., 1983: sums of squares around each row's own mean lose no digits.
            values = sample.double().reshape(len(sample), -1).to(self.mean.device)
            total = count + values.shape[1]
            step = values.mean(dim=1) - mean
            own = ((values - values.mean(dim=1, keepdim=True)) ** 2).sum(dim=1)
            scatter = scatter + own + step**2 * count * values.shape[1] / total
            mean, count = mean + step * values.shape[1] / total, total
        std = (torch.as_tensor(scatter) / count).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-12 * mean.abs().clamp(min=1e-12), std, 1.0))
        self.fitted.fill_(True)
        return self

    def forward(self, x: Tensor) -> Outputs:
        if not self._ready and not torch.compiler.is_compiling():
            self._ready = bool(self.fitted)  # not asked again: it waits for the device
        if not self._ready and not torch.compiler.is_compiling():
            raise ValueError(
                "the statistics of this encoder are not known yet; call "
                "encoder.fit_statistics(train) with the training rows, or load its weights"
            )
        shape = (1, -1, *[1] * (x.ndim - 2))
        return self.encoder((x - self.mean.view(shape)) / self.std.view(shape))
