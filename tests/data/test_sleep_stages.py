"""Names of sleep stages in both manuals, and annotations cut into epochs of 30 s."""

import pytest

from xdistill.data.sleep_stages import (
    N1,
    N2,
    N3,
    REM,
    STAGES,
    SYNONYMS,
    UNSCORED,
    W,
    scored_epochs,
    stage_of,
)


def test_both_manuals_name_five_stages():
    assert STAGES == ("W", "N1", "N2", "N3", "REM")
    assert [stage_of(name) for name in STAGES] == [W, N1, N2, N3, REM] == list(range(5))
    numbered = [stage_of(f"Sleep stage {name}") for name in "W1234R"]
    assert numbered == [W, N1, N2, N3, N3, REM]
    assert [stage_of(f"S{number}") for number in "1234"] == [N1, N2, N3, N3]
    assert stage_of("R") == stage_of("Sleep stage REM") == stage_of(" rem ") == REM
    assert set(SYNONYMS.values()) == set(range(5))


def test_time_without_a_stage():
    for text in (*UNSCORED, "MOVEMENT", "Sleep stage ?", "movement time"):
        assert stage_of(text) is None


@pytest.mark.parametrize("text", ["4", "1", "0", "Lights off", "N4", "S5", "Sleep stage 5", ""])
def test_a_number_alone_may_be_a_class_and_is_refused(text):
    with pytest.raises(ValueError, match=rf"'{text}' is no sleep stage; expected one of W, Wake"):
        stage_of(text)


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
    with pytest.raises(ValueError, match=r"'Lights off' is no sleep stage; expected one of W"):
        scored_epochs([(0.0, 30.0, "Lights off")])
    with pytest.raises(ValueError, match="'Sleep stage 1' starts at 30 s, before .* ends at 60 s"):
        scored_epochs([(0.0, 60.0, "Sleep stage W"), (30.0, 30.0, "Sleep stage 1")])
