from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import xdistill as xd
from tests.fake_package import install
from xdistill import registry
from xdistill.cli import main
from xdistill.cli.catalogue import Entry, entries, entry, markdown_table, text_table
from xdistill.registry import Registry, create_loss, list_losses

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
GROUP = "xdistill.losses"
PLUGIN = """
import xdistill as xd

class Mine(xd.Loss):
    '''A loss of mine.

    More of it.
    '''
    name = "mine_too"

class Picky(Mine):
    '''Wants a width.'''
    def __init__(self, width): super().__init__()

def factory(): return Mine()
"""


def test_an_entry_says_what_the_class_says():
    assert entry("kd") == Entry(
        name="kd",
        formula="T²·KL(softmax(z_t/T) ‖ softmax(z_s/T))",
        paper="Hinton et al., 2015",
        needs=("logits",),
        uses=(),
        mutual=False,
        parameters=False,
        weight=0.9,
        warmup_epochs=0,
    )
    assert entry("ccl").parameters
    assert not entry("infonce").parameters
    assert entry("supcon").uses == ("labels",)


def test_every_loss_has_its_entry():
    assert [one.name for one in entries()] == list_losses()
    for one in entries():
        assert one.parameters is not None, one.name


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A registry of its own, with a plugin that works, one that wants options, and a broken one."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    losses: Registry = Registry("loss", GROUP)
    points = {"mine_too": "plug_one:Mine", "picky": "plug_one:Picky", "fun": "plug_one:factory"}
    install(tmp_path, "plug-one", {GROUP: points}, PLUGIN)
    install(tmp_path, "plug-bad", {GROUP: {"bad": "plug_bad:Bad"}}, "import a_missing_library")
    monkeypatch.setattr("xdistill.cli.catalogue.losses", losses)
    monkeypatch.setattr(registry, "losses", losses)
    yield losses
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.usefixtures("plugins")
def test_plugins_are_in_the_table(capsys):
    found = {one.name: one for one in entries()}
    assert set(found) == {"mine_too", "picky"}
    assert found["mine_too"].formula == "A loss of mine."
    assert found["mine_too"].parameters is False
    assert found["picky"].parameters is None
    assert main(["losses"]) == 1
    printed = capsys.readouterr().out
    assert "bad  broken: ModuleNotFoundError" in printed
    assert re.search(r"picky +embedding +\? +1 +Wants a width", printed)


def test_the_command_prints_the_table(capsys):
    assert main(["losses"]) == 0
    assert capsys.readouterr().out == text_table(entries())
    assert main(["losses", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown_table(entries())


def test_a_bar_in_a_formula_does_not_end_its_cell():
    table = markdown_table([entry("kd")._replace(formula="|x|")])
    assert table.splitlines()[-1].endswith("| \\|x\\| |")


def test_the_table_of_the_page_is_up_to_date():
    """`xdistill losses --markdown` makes it."""
    assert markdown_table(entries()) in PAGE.read_text()


def test_every_loss_has_a_section_with_an_example_of_four_lines():
    sections = dict(
        re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    )
    assert set(sections) == set(list_losses())
    for name, text in sections.items():
        (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        assert 1 <= len(code.splitlines()) <= 4, name
        assert type(create_loss(name)).__name__ in code or f'"{name}"' in code, name


def test_every_loss_is_a_public_name():
    for name in list_losses():
        kind = type(create_loss(name))
        assert getattr(xd, kind.__name__) is kind
        assert kind.__name__ in xd.__all__


@pytest.mark.parametrize("typed, meant", [("kdd", {"kd", "dkd"}), ("crdd", {"crd"})])
def test_a_slip_of_the_finger_is_answered_with_the_near_names(typed, meant):
    with pytest.raises(ValueError, match=f"unknown loss {typed!r}; did you mean") as caught:
        create_loss(typed)
    assert meant <= set(re.findall(r"'(\w+)'", str(caught.value)))
