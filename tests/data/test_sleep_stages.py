"""Words of a hypnogram become stages, its blocks epochs of 30 s."""

import pytest

from xdistill.data.sleep_stages import STAGE_OF, STAGES, UNSCORED, scored_epochs, stage_of


def test_both_manuals_name_five_stages():
    assert STAGES == ("W", "N1", "N2", "N3", "REM")
    rechtschaffen = [stage_of(f"Sleep stage {name}") for name in "W1234R"]
    assert rechtschaffen == [0, 1, 2, 3, 3, 4]
    assert [stage_of(f"Sleep stage {name}") for name in ("N1", "N2", "N3")] == [1, 2, 3]
    assert set(STAGE_OF.values()) == set(range(5))
    assert [stage_of(text) for text in UNSCORED] == [None, None]


def test_blocks_are_cut_into_epochs():
    blocks = [
        (90.0, 60.0, "Sleep stage R"),
        (0.0, 60.0, "Sleep stage W"),
        (60.0, 30.0, "Movement time"),
        (150.0, 50.0, "Sleep stage 4"),  # 20 s are left over
        (200.0, 600.0, "Sleep stage ?"),
    ]
    assert scored_epochs(blocks) == [(0, 0), (30, 0), (90, 4), (120, 4), (150, 3)]
    assert scored_epochs([]) == []


def test_other_words_and_overlaps_are_refused():
    with pytest.raises(ValueError, match=r"'Lights off' is no stage of sleep; expected one of Sle"):
        scored_epochs([(0.0, 30.0, "Lights off")])
    with pytest.raises(ValueError, match="'Sleep stage 1' starts at 30 s, before .* ends at 60 s"):
        scored_epochs([(0.0, 60.0, "Sleep stage W"), (30.0, 30.0, "Sleep stage 1")])
