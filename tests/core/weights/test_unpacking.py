"""Files that are small on the disk and large in memory are refused before they are, with the figure."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.core.allowance import VARIABLE
from tasks.core.errors import AssayError, SpecError, WeightsError
from tasks.core.inputs.samples import read_sample
from tests.core.weights.checkpoints import read_state_dict, small

ZEROS = bytes(1 << 24)
_READ = """
import sys
from pathlib import Path
from tasks.core.errors import AssayError
from tasks.core.weights.checkpoint_files import read_sets
try:
    read_sets(Path(sys.argv[1]))
except AssayError as error:
    print(error)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss counts the parent's
print(int(peak.split()[1]) >> 10)
"""


def zip_bomb(path: Path, name: str, num_bytes: int) -> None:
    """An archive of zeros, a thousandth of their size."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(num_bytes >> 24):
            member.write(ZEROS)


@pytest.mark.parametrize(
    ("name", "member", "read"),
    [
        ("w.pth", "archive/data/0", read_state_dict),
        ("w.npz", "key.npy", read_state_dict),
        ("w.pt2", "w/data/weights/weight_0", read_state_dict),
        ("sample.npz", "image.npy", read_sample),
    ],
)
def test_a_zip_bomb_is_refused(name: str, member: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    """1.3 GB of zeros: checkpoints, archives of torch.export and samples."""
    zip_bomb(tmp_path / name, member, 80 << 24)
    with pytest.raises(AssayError, match=rf"^{name} \(5\.\d MB\), unpacked, takes 1\.3 GB .*{VARIABLE}=2GB\.$"):
        read(tmp_path / name)


def test_what_is_compressed_and_no_bomb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to what is allowed, and beyond it where the variable says so."""
    np.savez_compressed(tmp_path / "w.npz", **{"0.weight": np.zeros((1 << 20,), np.float32)})
    assert read_state_dict(tmp_path / "w.npz").tensors["0.weight"].shape == (1 << 20,)
    monkeypatch.setenv(VARIABLE, "1MB")
    with pytest.raises(WeightsError, match=r"takes 4\.2 MB"):
        read_state_dict(tmp_path / "w.npz")
    with pytest.raises(SpecError, match=r"takes 4\.2 MB .*numpy\.savez, uncompressed"):
        read_sample(tmp_path / "w.npz")
    monkeypatch.setenv(VARIABLE, "5MB")
    read_state_dict(tmp_path / "w.npz")


class _Reduced:
    """Is pickled as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Make it by this call."""
        return self.call


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (torch.zeros(1).expand(10**10), "its broadcast tensors written out, takes 40.0 GB"),
        (torch.empty(10**12, device="meta"), "tensors without values"),
        (_Reduced(bytearray, 10**11), "asks for far more memory than it has bytes"),
    ],
    ids=["broadcast", "meta", "bytearray"],
)
def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(content: object, says: str, tmp_path: Path) -> None:
    """In a process of its own, which takes no memory for it."""
    torch.save({"w": content, "bias": torch.zeros(2)}, tmp_path / "w.pth")
    ran = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path / "w.pth")], capture_output=True, text=True, check=True
    )
    sentence, peak = ran.stdout.splitlines()
    assert says in sentence
    assert int(peak) < 1000


def test_bytes_named_by_many_tensors_are_counted_each_time(tmp_path: Path) -> None:
    """An archive of torch.export that names the same 8 MB 200 times."""
    program = torch.export.export(small().eval(), (torch.zeros(2, 4),))
    with (tmp_path / "one.pt2").open("wb") as file:
        torch.export.save(program, file)
    with zipfile.ZipFile(tmp_path / "one.pt2") as one, zipfile.ZipFile(tmp_path / "many.pt2", "w") as many:
        for name in one.namelist():
            content = one.read(name)
            if name.endswith("model_weights_config.json"):
                ((_, entry), *_) = json.loads(content)["config"].items()
                content = json.dumps({"config": {f"w{index}": entry for index in range(200)}}).encode()
            elif re.search(r"weights/weight_\d+$", name):
                content = bytes(8 << 20)
            many.writestr(name, content)
    with pytest.raises(WeightsError, match=r"each tensor read on its own, takes 1\.\d GB"):
        read_state_dict(tmp_path / "many.pt2")
