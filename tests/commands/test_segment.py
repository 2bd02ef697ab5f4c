"""`segment`: what is made of a request before anything is read."""

import pickle
from pathlib import Path

from seg_prior.commands.segment import Config, plan


def test_what_goes_along_with_a_scan_does_not_grow_with_the_list(tmp_path: Path) -> None:
    scans = [tmp_path / f"{n:03}.nii.gz" for n in range(100)]
    for scan in scans:
        scan.touch()

    def num_bytes(num: int) -> int:
        job, *others = plan(Config(images=scans[:num], out=tmp_path / "out"))
        assert len(others) == num - 1
        return len(pickle.dumps(job))

    assert num_bytes(100) == num_bytes(1)
