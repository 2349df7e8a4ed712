"""The recipe: three kinds of targets, and the student that validation prefers."""

import pytest
import torch

import xdistill as xd
from tests.toy import ToyEncoder, toy_data
from xdistill.data.seen import seen_rows
from xdistill.engine.recipe import recipe_loss

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "max_epochs": 3}


def make() -> ToyEncoder:
    return ToyEncoder("cheap", 6)


@pytest.fixture(scope="module")
def teacher() -> ToyEncoder:
    torch.manual_seed(0)
    found = ToyEncoder("rich", 3)
    train = xd.paired_loader(toy_data(120, seed=5), 16, shuffle=True)
    xd.fit(xd.Distiller(found, None, xd.CrossEntropy()), train, lr=0.02, **QUIET)
    return found.eval()


def few(rows: int = 90) -> xd.PairedDataset:
    return xd.hide_labels(toy_data(rows, seed=1), 0.1)


def run(teacher, train=None, **options):
    val = toy_data(60, seed=2)
    options = {"batch_size": 16, "lr": 0.02, **QUIET, **options}
    return xd.recipe(make, teacher, few() if train is None else train, val, **options)


def test_it_keeps_the_student_with_the_best_value(teacher):
    found = run(teacher)
    assert list(found.results) == list(found.students) == ["own", "smoothed", "corrected"]
    values = {name: result.best_value for name, result in found.results.items()}
    assert values[found.targets] == max(values.values())
    assert found.student is found.students[found.targets] and not found.student.training
    lowest = run(teacher, monitor="train/loss", mode="min")
    values = {name: result.best_value for name, result in lowest.results.items()}
    assert values[lowest.targets] == min(values.values())


def test_each_student_is_that_of_fit_with_its_targets(teacher):
    train, val = few(), toy_data(60, seed=2)
    found = run(teacher)
    cached = xd.cache_teacher(train, teacher, "rich")
    seen = train.inputs["cheap"]
    rows = {
        "own": cached,
        "smoothed": xd.refine_targets(cached, "rich", seen, correct=False),
        "corrected": xd.refine_targets(cached, "rich", seen, correct=True),
    }
    weights = []
    for name, data in rows.items():
        torch.manual_seed(0)
        student = make()
        loader = xd.paired_loader(data, 16, shuffle=True, labelled_per_batch=4)
        loaders = loader, xd.paired_loader(val, 32)
        xd.fit(xd.Distiller(student, teacher, recipe_loss()), *loaders, lr=0.02, **QUIET)
        for ours, theirs in zip(
            student.parameters(), found.students[name].parameters(), strict=True
        ):
            assert torch.equal(ours, theirs), name
        weights.append(student.body.weight)
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


def test_cached_outputs_are_taken_and_a_run_goes_on(teacher, tmp_path):
    cached = xd.cache_teacher(few(), teacher, "rich")
    first = run(teacher, cached, run_dir=tmp_path / "run")
    again = run(teacher, cached, run_dir=tmp_path / "run", resume=True)
    assert first.results == again.results and first.targets == again.targets
    assert sorted(one.name for one in (tmp_path / "run").iterdir()) == [
        "corrected",
        "own",
        "smoothed",
    ]


def test_all_rows_labelled_trains_without_two_streams(teacher):
    assert run(teacher, toy_data(60, seed=1), max_epochs=1).student is not None


def test_what_it_cannot_do_is_refused(teacher):
    unlabelled = few().replace(target=torch.full((90,), -1))
    with pytest.raises(ValueError, match="a label in some rows of train, got .* with 0 labelled"):
        run(teacher, unlabelled)
    several = few().replace(target=torch.ones(90, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="one class a row"):
        run(teacher, several)


def test_rows_are_seen_as_inputs_or_as_embeddings():
    data = toy_data(20)
    assert torch.equal(seen_rows(data, "cheap"), data.inputs["cheap"])
    encoder = make().train()
    as_rows = data.replace(transforms={"cheap": lambda x: x[None]})
    with pytest.raises(ValueError, match=r"a row of cheap has shape \[1, 6\], expected a vector"):
        seen_rows(as_rows, "cheap")

    class Flat(torch.nn.Module):
        modality = "cheap"

        def __init__(self):
            super().__init__()
            self.inner = encoder

        def forward(self, x):
            return self.inner(x.flatten(1))

    embedded = seen_rows(as_rows, "cheap", Flat(), batch_size=7)
    encoder.eval()
    torch.testing.assert_close(embedded, encoder(data.inputs["cheap"]).embedding.detach())
    has = torch.arange(20) % 3 > 0
    some = seen_rows(data.replace(valid={"cheap": has}), "cheap")
    assert torch.equal(some[has], data.inputs["cheap"][has]) and not bool(some[~has].any())
    with pytest.raises(ValueError, match="no 'sound'; name one of them"):
        seen_rows(data, "sound")
    with pytest.raises(ValueError, match="no row of the dataset has cheap"):
        seen_rows(data.replace(valid={"cheap": torch.zeros(20, dtype=torch.bool)}), "cheap")


def test_random_transforms_follow_from_the_seed_and_leave_the_generator_alone():
    noisy = toy_data(10).replace(transforms={"cheap": lambda x: x + torch.randn_like(x)})
    before = torch.get_rng_state()
    first, again, other = (seen_rows(noisy, "cheap", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_encoder_is_left_as_it_was():
    encoder = make()
    encoder.norm.eval()
    as_rows = toy_data(8).replace(transforms={"cheap": lambda x: x.view(2, 3)})

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = encoder

        def forward(self, x):
            return self.inner(x.flatten(1))

    seen_rows(as_rows, "cheap", Flat())
    assert encoder.training and not encoder.norm.training
