"""Does the encoder of breathing read the course that the pixels follow, and that alone?"""

import numpy as np
import pytest
import torch

from tests.encoders.films import accuracy_after, blob_film
from xdistill.data.simulation.infrared import breathe, draw_body, draw_pose, render
from xdistill.encoders.breathing import SeriesNet, explained_by, principal_course
from xdistill.encoders.video import normalise_clip
from xdistill.registry import create_encoder


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(dim=2, keepdim=True)


def make(channels: int = 1, num_classes: int = 5):
    torch.manual_seed(0)
    return create_encoder("video_breathing", num_classes=num_classes, in_channels=channels)


def test_the_course_is_the_first_principal_component():
    rates = 0.2 + 0.02 * torch.arange(4)
    wave = 3 * torch.sin(6.28 * rates[:, None] * torch.arange(30.0))
    motion = centred(wave[:, None, :, None, None] * noise(4, 2, 1, 6, 5) + noise(4, 2, 30, 6, 5))
    found = principal_course(motion)
    frames = motion.transpose(1, 2).flatten(2).double()
    expected = torch.linalg.svd(frames, full_matrices=False).U[..., 0]
    alike = (found * expected).sum(1) / found.norm(dim=1)
    torch.testing.assert_close(alike.abs(), torch.ones(4).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(1, correction=0), torch.ones(4))


def test_the_breath_of_a_simulated_sleeper_is_found_in_the_pixels():
    alike = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        body = draw_body(rng)
        pose = draw_pose(rng, body)
        still = np.zeros(30)
        chest, abdomen = breathe(rng, body, np.full(6, 3), np.full(6, 0.8))
        clip = render(body, pose, pose, still, chest, abdomen, np.zeros((30, 5, 2)), still)
        clip += body.noise * rng.standard_normal(clip.shape)
        film = torch.from_numpy(np.clip(clip, 0, 255) / 255).float()[None, None]
        course = principal_course(centred(normalise_clip(film)))[0]
        alike.append(abs(np.corrcoef(course, chest + abdomen)[0, 1]))
    assert min(alike) > 0.97, alike


def test_what_a_course_explains_and_the_rest_add_up():
    motion = centred(noise(3, 2, 10, 4, 4))
    course = principal_course(motion)
    amplitude, rest = explained_by(motion, course)
    torch.testing.assert_close(
        amplitude[:, :, None] * course[:, None, :, None, None] + rest, motion
    )
    # nothing of the course is left
    torch.testing.assert_close(
        explained_by(rest, course)[0], torch.zeros(3, 2, 4, 4), atol=1e-5, rtol=0
    )


def test_without_motion_the_course_is_zero_and_outputs_stay_finite():
    still = noise(2, 1, 1, 16, 16).expand(2, 1, 8, 16, 16)
    assert not principal_course(torch.zeros(2, 1, 8, 4, 4)).any()
    outputs = make()(still)
    outputs.logits.sum().backward()
    assert torch.isfinite(outputs.embedding).all()


def test_the_sign_of_a_course_has_no_meaning():
    network = SeriesNet(1, 8, 3, signless=True).eval()
    x = noise(2, 1, 30)
    torch.testing.assert_close(network(x), network(-x))


def test_neither_contrast_nor_the_side_of_the_lamp_is_seen():
    """A lamp from the other side makes bright what was dark."""
    encoder, clip = make().eval(), torch.rand(2, 1, 30, 24, 24)
    with torch.no_grad():
        expected = encoder(clip).embedding
        torch.testing.assert_close(encoder(1 - clip).embedding, expected, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(
            encoder(0.3 + 0.4 * clip).embedding, expected, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("shape", [(1, 1, 1, 8, 8), (2, 1, 30, 48, 48), (1, 1, 32, 64, 33)])
def test_any_size(shape):
    assert make().eval()(torch.rand(shape)).embedding.shape == (shape[0], 128)


@pytest.mark.slow
def test_it_learns_how_regular_a_movement_below_one_pixel_is():
    torch.manual_seed(0)

    def clips(rows: int):
        target = torch.randint(0, 2, (rows,))
        jitter = torch.tensor([0.02, 0.25])[target, None]
        steps_hz = 0.25 * (1 + jitter * torch.randn(rows, 30)).clamp(min=0)
        shift_px = 0.3 * torch.sin(6.28 * (steps_hz.cumsum(1) + torch.rand(rows, 1)))  # b t
        centre = 9 + 6 * torch.rand(rows, 1)
        return blob_film(shift_px, centre, 24, 30), target

    encoder = make(num_classes=2)
    assert accuracy_after(encoder, clips, steps=80, rows=32, test=200) > 0.9
