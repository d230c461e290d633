"""What a run answers."""

import pytest

from tests.support.sandboxes import Sandboxed
from wvo_mcp.domain.sandbox import How
from wvo_mcp.errors import InvalidInput, NotConfigured

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-1")]


async def test_a_run_answers_both_streams_and_the_exit_code(box: Sandboxed) -> None:
    ran = await box.run("echo out; echo err >&2; exit 7")
    assert (ran.how, ran.exit_code, ran.stdout, ran.stderr) == (How.EXIT, 7, b"out\n", b"err\n")
    assert ran.image.startswith("sha256:") and 0 < ran.seconds < 60
    assert (await box.run("kill -9 $$")).exit_code == 137


async def test_files_are_in_the_folder_that_the_command_begins_in(box: Sandboxed) -> None:
    files = {"main.py": b"print(open('a/b \xc3\xa9\"$(x).txt').read())", 'a/b \u00e9"$(x).txt': b"text\n", "-rf": b""}
    ran = await box.run("python3", "main.py", files=files)
    assert ran.stdout == b"text\n\n"
    assert (await box.run("pwd; ls -A; cat", files={"x": b""})).stdout == b"/work\nx\n"


async def test_each_run_begins_anew(box: Sandboxed) -> None:
    await box.run("touch left ../tmp/left")
    assert (await box.run("ls /work /tmp")).stdout == b"/tmp:\n\n/work:\n"


async def test_what_is_written_to_work_may_be_run(box: Sandboxed) -> None:
    ran = await box.run("printf '#!/bin/sh\\necho ran\\n' > it; chmod +x it; ./it")
    assert ran.stdout == b"ran\n"


async def test_files_that_do_not_fit_are_refused(box: Sandboxed) -> None:
    with pytest.raises(InvalidInput, match=r"files.*could not be placed"):
        await box.run("true", files={"large": b"x" * (2 << 20)}, work_mb=1)


async def test_a_command_that_the_image_lacks_is_said(box: Sandboxed) -> None:
    ran = await box.run("/nowhere/prog", "x")
    assert ran.exit_code == 127 and b"nowhere" in ran.stderr


@pytest.mark.requirement("SBX-2")
async def test_an_image_that_is_not_here_is_not_pulled(box: Sandboxed) -> None:
    with pytest.raises(NotConfigured, match="no image nobody/has-this:1"):
        await box.run("true", image="nobody/has-this:1")
