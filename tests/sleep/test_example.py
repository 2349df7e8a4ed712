from __future__ import annotations

import re

import numpy as np
import pytest

from examples.night_to_hypnogram import main
from xdistill.data.sleep_stages import STAGES


@pytest.mark.slow
def test_from_files_to_a_report_and_an_exported_student(tmp_path, capsys):
    main(tmp_path, hours=0.25, epochs=2)
    report = (tmp_path / "night" / "report.html").read_text()
    assert "This is not a medical device" in report
    assert not re.search(r"(src|href)=\"https?://", report)
    stages = (tmp_path / "night" / "hypnogram.txt").read_text().split()
    assert len(stages) == 30
    own, exported = (
        np.genfromtxt(tmp_path / folder / "epochs.csv", delimiter=",", names=True, dtype=None)
        for folder in ("night", "again")
    )
    for stage in STAGES:
        assert np.abs(own[f"p_{stage}"] - exported[f"p_{stage}"]).max() < 1e-3
    assert "yes" in capsys.readouterr().out  # inspect has loaded the students
