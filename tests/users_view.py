"""What a type checker tells a user of the factories. Checked by pyright, never run."""

from typing import assert_type

import torch
from torch import nn

import xdistill as xd
from xdistill.types import EncoderModule

student = xd.create_encoder("video_small", num_classes=5)
assert_type(student, EncoderModule)
assert_type(student(torch.rand(1)), xd.Outputs)
assert_type(student.modality, str)
assert_type(xd.create_loss("kd"), xd.Loss)
assert_type(xd.CrossEntropy() + 0.9 * xd.create_loss("kd"), xd.WeightedSum)
assert_type(xd.create_dataset("s3ve"), xd.Splits)
assert_type(xd.create_dataset("s3ve").train, xd.PairedDataset)
assert_type(xd.create_projector("mlp", 3, 4), nn.Module)
assert_type(xd.get_modality("video"), xd.Modality)
xd.Distiller(student, xd.create_encoder("eeg_small").eval(), xd.create_loss("sacd", dim=128))


@xd.register_loss("mine")
class Mine(xd.Loss):
    """A decorated class keeps its type."""


assert_type(Mine(), Mine)
