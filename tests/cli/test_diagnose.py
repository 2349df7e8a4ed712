from __future__ import annotations

import pytest

from xdistill.cli import main


def test_a_setting_is_diagnosed_and_its_teacher_read_the_second_time(tmp_path, capsys):
    arguments = ["diagnose", "mfh_gaussian", "--labels", "0.2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out.splitlines()
    assert main(arguments) == 0
    again = capsys.readouterr().out.splitlines()
    table = first[first.index(next(line for line in first if line.startswith("mfh_gaussian:"))) :]
    assert again == table
    assert "rows, labelled" in table[1] and "100, 20" in table[1]
    assert any(line.startswith("expected gain") for line in table)


@pytest.mark.parametrize(
    ("name", "said"), [("uci_mfeat", "name one of them"), ("uci_mfea", "did you mean")]
)
def test_a_setting_that_is_none_is_refused(name, said, capsys):
    assert main(["diagnose", name]) == 1
    assert said in capsys.readouterr().err
