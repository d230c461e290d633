"""Checks of the machine and its folders."""

import os
import shutil
from pathlib import Path

import pytest

from wvo_mcp.domain.finding import Outcome
from wvo_mcp.execution import doctor

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 22 0:50 / /srv/team\\040share rw - nfs4 server:/share rw
41 40 0:51 / /srv/team\\040share/local rw - xfs /dev/sdb1 rw
42 22 0:52 / /home rw - fuse.sshfs me@host:/ rw
"""


@pytest.mark.parametrize(
    ("folder", "outcome", "kind"),
    [
        ("/data/state", Outcome.OK, "ext4"),
        ("/srv/team share/project/state", Outcome.WARN, "nfs4"),
        ("/srv/team share/local/state", Outcome.OK, "xfs"),
        ("/srv/team shares", Outcome.OK, "ext4"),
        ("/home/ann/state", Outcome.WARN, "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_warned_of(folder: str, outcome: Outcome, kind: str) -> None:
    finding = doctor.file_system(Path(folder), MOUNTS)

    assert finding.outcome is outcome
    assert kind in finding.found


def test_this_machine_passes(tmp_path: Path) -> None:
    assert doctor.python().outcome is Outcome.OK
    assert doctor.file_system(tmp_path).check == "file system"
    assert doctor.workspace(tmp_path, "ROOT").outcome is Outcome.OK


def test_a_root_that_is_no_folder_fails(tmp_path: Path) -> None:
    assert doctor.workspace(tmp_path / "gone", "ROOT").outcome is Outcome.FAIL


def test_the_state_folder_may_still_be_missing(tmp_path: Path) -> None:
    assert doctor.state_folder(tmp_path / "a" / "state").outcome is Outcome.WARN
    assert doctor.state_folder(tmp_path).outcome is Outcome.OK


def test_a_file_above_the_state_folder_is_named_and_its_rights_stay(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = doctor.state_folder(tmp_path / "file" / "state")
    assert found.outcome is Outcome.FAIL
    assert f"{tmp_path / 'file' / 'state'} cannot be created" in found.found
    assert "chmod" not in str(found.remedy)


def test_a_file_in_the_place_of_the_state_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert doctor.state_folder(tmp_path / "state").outcome is Outcome.FAIL


def test_rights_that_are_missing_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    assert doctor.state_folder(tmp_path).outcome is Outcome.FAIL
    assert doctor.state_folder(tmp_path / "state").outcome is Outcome.FAIL


@pytest.mark.parametrize(("free", "outcome"), [(10**12, Outcome.OK), (5 * 10**8, Outcome.WARN), (10**7, Outcome.FAIL)])
def test_a_disk_that_fills_up_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, outcome: Outcome
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    assert doctor.disk(tmp_path / "state").outcome is outcome
