import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import xdistill
from tests.fake_package import install

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with the example plugin installed.

    It sees the libraries of the running environment, so that torch is not installed once more.
    """
    home = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    around = [path for path in sys.path if path.endswith("site-packages")]
    around += [str(Path(xdistill.__file__).parents[1])]
    lines = [f"import site; site.addsitedir({path!r})" for path in around]
    (site / "running_environment.pth").write_text("\n".join(lines) + "\n")
    interpreter = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "-q", "--no-index"]
    call([*pip, "--no-deps", "--no-build-isolation", str(PLUGIN)])
    return interpreter


def call(command: list[str], **options) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run(python: str, code: str, **options) -> str:
    return call([python, "-c", code], **options).stdout


def test_names_are_listed_before_the_plugin_is_imported(python):
    code = """
import sys
import xdistill as xd
assert "radar" in xd.list_modalities()
assert "radar_small" in xd.list_encoders()
assert "cosine" in xd.list_losses()
assert "breathing" in xd.list_datasets()
assert not [name for name in sys.modules if name.startswith("xdistill_example")]
assert xd.get_modality("radar").axes == "b c t"
assert "xdistill_example.loss" not in sys.modules
assert xd.list_encoders(modality="radar") == ["radar_small"]
print(sys.modules["xdistill_example"].__file__)
"""
    assert Path(python).parents[1] in Path(run(python, code).strip()).parents


def test_its_setting_is_listed_before_the_plugin_is_imported(python):
    code = """
import sys
from xdistill.experiment import get_setting, list_settings
assert "breathing" in list_settings()
assert not [name for name in sys.modules if name.startswith("xdistill_example")]
assert get_setting("breathing").student == "radar"
"""
    run(python, code)


def test_distils_with_the_plugin(python):
    code = """
import torch
import xdistill as xd
torch.manual_seed(0)
data = xd.create_dataset("breathing")
xd.check_disjoint(data)
student = xd.create_encoder("radar_small", num_classes=3)
teacher = xd.create_encoder("mlp", in_features=3, num_classes=3, dim=24)
loss = xd.CrossEntropy() + 0.5 * xd.create_loss("cosine") + 0.5 * xd.KD()
distiller = xd.Distiller(student, teacher, loss, projector="linear", dim=12)
try:
    student(torch.zeros(4, 2, 128))
except ValueError as error:
    assert str(error).startswith("radar: expected 1 channel(s) on axis 1 of [b c t], got 2")
else:
    raise AssertionError("two channels went through")
before = [parameter.clone() for parameter in teacher.parameters()]
trained = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
optimizer = torch.optim.Adam(trained, lr=1e-2)
values = []
for epoch in range(5):
    for batch in xd.paired_loader(data.train, 40, shuffle=True):
        step = distiller(batch)
        assert {"cross_entropy", "cosine", "kd"} <= set(step.terms)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        values.append(step.loss.item())
assert all(map(torch.equal, before, teacher.parameters()))
assert values[-1] < values[0], values
"""
    run(python, code)


def test_the_example_of_its_readme_runs(python, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (PLUGIN / "README.md").read_text(), re.DOTALL)
    run(python, code, cwd=tmp_path)


@pytest.mark.slow
def test_its_data_set_and_its_loss_join_the_suite(python, tmp_path):
    script = Path(xdistill.__file__).parents[1] / "benchmarks" / "suite.py"
    options = "--datasets breathing --methods cosine kd --seeds 2 --out runs".split()
    printed = call([python, str(script), *options], cwd=tmp_path).stdout
    table = printed.partition("breathing: test set")[2].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "±" in line]
    rows = {name.split()[0]: scores for name, *scores in cells}
    assert {"teacher", "student", "labelled", "cosine", "kd"} <= set(rows)
    assert all(float(rows[method][0].split()[0]) > 0 for method in ("student", "cosine", "kd"))
    runs = (tmp_path / "runs" / "suite_runs.csv").read_text()
    # In each of two seeds: a search of three, and the chosen one in two cases.
    assert runs.count("breathing,cosine,") == 10


def test_the_listing_marks_what_is_broken_and_says_why(python, tmp_path):
    losses, encoders = "xdistill.losses", "xdistill.encoders"
    install(tmp_path, "plug-clash", {losses: {"cosine": "plug_clash:Loss"}}, "Loss = 1")
    install(tmp_path, "plug-ours", {losses: {"kd": "plug_ours:KD"}}, "KD = 1")
    install(tmp_path, "plug-bad", {encoders: {"bad": "plug_bad:Net"}}, "import missing_library")
    code = "from xdistill.cli import main; print(main(['list']))"
    listing = run(python, code, env={"PYTHONPATH": str(tmp_path)}).splitlines()
    rows = {line.split()[0]: line for line in listing if line.startswith("  ")}
    broken = {name for name, line in rows.items() if "broken: " in line}
    assert broken == {"cosine", "kd", "bad"}
    assert "plug-clash" in rows["cosine"] and "xdistill-example-plugin" in rows["cosine"]
    assert "plug-ours" in rows["kd"] and "xdistill.losses.kd" in rows["kd"]
    assert rows["bad"].endswith("ModuleNotFoundError: No module named 'missing_library'")
    assert "xdistill-example-plugin" in rows["radar_small"]
    assert listing[-1] == "1"
