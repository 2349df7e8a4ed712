"""`xdistill datasets`: every data set, what its card says, and whether its files were found."""

import pytest

import xdistill as xd
from xdistill import registry
from xdistill.cli.main import main, pairs_text
from xdistill.data.cards import DatasetCard
from xdistill.data.listing import find_data, listed_datasets
from xdistill.data.samples import write_uci_mfeat_sample


def block(text: str, name: str) -> dict[str, str]:
    """The lines below a name."""
    lines = text.splitlines()
    found = {}
    for line in lines[lines.index(name) + 1 :]:
        if not line.startswith("  "):
            break
        key, value = line.split(maxsplit=1)
        found[key] = value
    return found


def test_every_data_set_has_a_card(tmp_path):
    for name, card, place, reason in listed_datasets(tmp_path / "none"):
        assert reason is None and place is None
        assert card is not None, name
        assert card.name == name and card.classes >= 2
        for text in (card.size, card.licence, card.citation):
            assert len(text) > 5
        assert card.source_url.startswith("https://") and card.pairs


def test_files_are_found_where_they_are(tmp_path, capsys):
    assert main(["datasets", "--data-root", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if not line.startswith(" ")] == xd.list_datasets()
    assert block(text, "uci_mfeat")["files"] == f"not found in {tmp_path / 'uci_mfeat'}"
    assert block(text, "mfh_gaussian")["files"] == "none needed, it is generated"
    write_uci_mfeat_sample(tmp_path / "numerals")
    main(["datasets", "--data-root", str(tmp_path)])
    found = block(capsys.readouterr().out, "uci_mfeat")
    assert found["files"] == f"found in {tmp_path / 'numerals'}"
    assert found["classes"] == "10" and found["pairs"].endswith("zer → each other")
    write_uci_mfeat_sample(tmp_path / "uci_mfeat")
    main(["datasets", "--data-root", str(tmp_path)])
    assert block(capsys.readouterr().out, "uci_mfeat")["files"].endswith("uci_mfeat")


def test_all_files_of_a_card_are_needed(tmp_path):
    card = DatasetCard("one", (("a", "b"),), 2, "", "", "", "", ("*.csv", "sound/*.wav"))
    (tmp_path / "list.csv").touch()
    assert find_data(card, tmp_path) is None
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "1.wav").touch()
    assert find_data(card, tmp_path) == tmp_path


def test_a_data_set_of_someone_else_is_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry.datasets, "_entries", dict(registry.datasets._entries))
    card = DatasetCard("airflow", (("eeg", "airflow"),), 3, "small", "CC0", "us", "https://a", ())
    with_card = xd.register_dataset(card)(lambda: None)
    xd.register_dataset("bare")(lambda: None)
    assert with_card.card is card
    main(["datasets", "--data-root", str(tmp_path)])
    text = capsys.readouterr().out
    assert block(text, "airflow")["licence"] == "CC0" and block(text, "bare") == {}


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ((("a", "b"), ("b", "a")), "a → b, b → a"),
        ((("a", "b"), ("c", "b")), "a → b, c → b"),
        (tuple((x, y) for x in "abc" for y in "abc" if x != y), "each of a, b, c → each other"),
    ],
)
def test_pairs_read_well(pairs, text):
    assert pairs_text(pairs) == text
