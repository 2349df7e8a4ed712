import importlib
import subprocess
import sys

import pytest

import xdistill as xd

HEAVY = (
    "av braindecode h5py lightning matplotlib mne pandas PIL pytorch_lightning scipy sklearn "
    "soundfile timm torchaudio torchmetrics torchvision triton tyro"
).split()


def run(code: str, warnings: str = "error") -> str:
    command = [sys.executable, "-W", warnings, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


NEW_MODULES = f"""
import sys, torch
before = set(sys.modules)
import xdistill as xd
{{use}}
new = {{{{module.partition(".")[0] for module in set(sys.modules) - before}}}}
print(*sorted(new & set({HEAVY})))
"""


def test_importing_loads_no_heavy_library():
    assert run(NEW_MODULES.format(use="")).split() == []


def test_listing_and_making_losses_loads_no_heavy_library():
    use = """
xd.list_modalities(), xd.list_encoders(), xd.list_projectors(), xd.list_datasets()
loss = sum(xd.create_loss(name) for name in xd.list_losses())
"""
    assert run(NEW_MODULES.format(use=use)).split() == []


def test_importing_data_loads_no_adapter_and_reads_no_file():
    use = "import xdistill.data; assert xdistill.data.PairedDataset is xd.PairedDataset"
    assert run(NEW_MODULES.format(use=use)).split() == []
    folders = ("adapters", "files", "samples", "simulation")
    code = f"""
import sys, xdistill.data
print(*[name for name in sys.modules if name.startswith(
    tuple("xdistill.data." + folder for folder in {folders}))])
"""
    assert run(code).split() == []


def test_every_public_name_of_the_packages_of_data_exists():
    for package in ("data", "data.files", "data.samples", "data.simulation"):
        module = importlib.import_module(f"xdistill.{package}")
        assert module.__all__ and len(set(module.__all__)) == len(module.__all__)
        assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_importing_takes_under_a_quarter_of_what_torch_takes():
    # torch is imported once; every fork then imports xdistill for its first time. A ratio of
    # processor times, so that neither the machine's speed nor what else it does matters.
    code = """
import os, time
start = time.process_time()
import torch
of_torch = time.process_time() - start
for attempt in range(5):
    if os.fork() == 0:
        start = time.process_time()
        import xdistill
        print((time.process_time() - start) / of_torch, flush=True)
        os._exit(0)
    os.wait()
"""
    assert min(map(float, run(code, warnings="ignore").split())) < 0.25


def test_every_public_name_exists():
    assert len(set(xd.__all__)) == len(xd.__all__)
    for name in xd.__all__:
        assert getattr(xd, name) is not None, name
    assert set(xd.__all__) <= set(dir(xd))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xd.nothing
