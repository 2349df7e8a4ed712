"""Several datasets as one."""

import pytest
import torch

from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.types import Outputs


def pairs(rows=4, **changes) -> PairedDataset:
    options = {
        "inputs": {"eeg": torch.randn(rows, 2), "video": [torch.randn(3) for _ in range(rows)]},
        "target": [0, 1] * (rows // 2),
        "classes": ("W", "N1"),
        "group": [0, 0, 1, 1][:rows],
    }
    return PairedDataset(**{**options, **changes})


def test_rows_are_numbered_through():
    one, two = pairs(), pairs(2, group=[7, 7])
    both = PairedDataset.concat([one, two])
    assert len(both) == 6 and [both[row].index for row in range(6)] == list(range(6))
    assert both.group.tolist() == [0, 0, 1, 1, 7, 7]
    assert isinstance(both.inputs["eeg"], torch.Tensor)
    for name in ("eeg", "video"):
        assert torch.equal(both.read(name, 5), two.read(name, 1))
        assert torch.equal(both.read(name, 3), one.read(name, 3))
    assert len(set(both.ids)) == 6
    (batch,) = paired_loader(both, 6)
    assert torch.equal(batch.inputs["video"][4], two.read("video", 0))


def test_a_bank_distinguishes_the_rows_of_both():
    """What a ConcatDataset gets wrong: its rows 0 and 4 are one row to a memory."""
    both = PairedDataset.concat([pairs(), pairs()], same_groups=False)
    (batch,) = paired_loader(both, 8)
    assert len(set(batch.index.tolist())) == 8


def test_groups_that_occur_twice_are_asked_for():
    parts = [pairs(), pairs()]
    with pytest.raises(ValueError, match=r"2 groups are in several of the datasets \(0, 1\)"):
        PairedDataset.concat(parts)
    assert PairedDataset.concat(parts, same_groups=True).group.tolist() == [0, 0, 1, 1] * 2
    assert PairedDataset.concat(parts, same_groups=False).group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_groups_are_matched_by_name():
    one, two = pairs(group=["a", "a", "b", "b"]), pairs(group=["b", "b", "c", "c"])
    assert one.group.tolist() == two.group.tolist()
    same = PairedDataset.concat([one, two], same_groups=True)
    assert same.group.tolist() == [0, 0, 1, 1, 1, 1, 2, 2] and same.group_names == ("a", "b", "c")
    apart = PairedDataset.concat([one, two], same_groups=False)
    assert apart.group_names == ("0/a", "0/b", "1/b", "1/c")
    with pytest.raises(ValueError, match="differ in names of groups"):
        PairedDataset.concat([one, pairs(group=[5] * 4)])


def test_a_modality_that_one_of_them_lacks():
    one, two = pairs(), pairs(2, inputs={"eeg": torch.randn(2, 2)}, group=[5, 5])
    both = PairedDataset.concat([one, two])
    assert both.rows_with("video").tolist() == [True] * 4 + [False] * 2
    assert set(both.valid) == {"video"}
    batches = list(paired_loader(both, 2))
    assert batches[-1].inputs["video"].tolist() == [[0] * 3] * 2


def test_transforms_stay_with_their_rows():
    double = {"eeg": lambda x: 2 * x}
    one, two = pairs(transforms=double), pairs(2, group=[5, 5])
    both = PairedDataset.concat([one, two])
    assert torch.equal(both.read("eeg", 0), one.read("eeg", 0))
    assert torch.equal(both.read("eeg", 4), two.read("eeg", 0))
    again = PairedDataset.concat([one, one.replace(group=[8] * 4)])
    assert again.transforms == double and isinstance(again.inputs["eeg"], torch.Tensor)
    assert torch.equal(again.read("eeg", 5), one.read("eeg", 1))


def test_cached_outputs():
    def cached(rows, dim=3):
        return {"ecg": Outputs(torch.rand(rows, dim), torch.rand(rows, 2), {"l": torch.rand(rows)})}

    one, two = pairs(cached=cached(4)), pairs(2, cached=cached(2), group=[5, 5])
    both = PairedDataset.concat([one, two])
    assert torch.equal(both[5].cached["ecg"].embedding, two[1].cached["ecg"].embedding)
    assert torch.equal(both[5].cached["ecg"].logits, two[1].cached["ecg"].logits)
    assert both.rows_with("ecg").all()
    with pytest.raises(ValueError, match=r"differ in cached outputs of: .* call cache_teacher"):
        PairedDataset.concat([one, pairs(2, group=[5, 5])])
    with pytest.raises(ValueError, match="differ in cached outputs of ecg: .* with one teacher"):
        PairedDataset.concat([one, pairs(2, cached=cached(2, 4), group=[5, 5])])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("N1", "W")}, "differ in classes: the first has .* number 1 has"),
        ({"target": [[1, 0]] * 4}, "differ in targets: the first has class, number 1 has classes"),
        ({"start_s": [0.0] * 4}, "differ in start_s"),
    ],
)
def test_datasets_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        PairedDataset.concat([pairs(), pairs(**{"group": [5] * 4, **changes})])


def test_nothing_to_concatenate():
    with pytest.raises(ValueError, match="at least one dataset, got none"):
        PairedDataset.concat([])


def test_times_and_names_are_kept():
    one = pairs(start_s=[0.0, 30.0, 0.0, 30.0], ids="abcd")
    two = pairs(2, start_s=[5.0, 6.0], ids="ef", group=[5, 5])
    both = PairedDataset.concat([one, two])
    assert both.start_s.tolist() == [0, 30, 0, 30, 5, 6] and both.ids == tuple("abcdef")
    assert PairedDataset.concat([one, one], same_groups=True).ids[4:6] == ("1/a", "1/b")
