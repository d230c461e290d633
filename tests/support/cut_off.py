"""A promotion that is killed when half of a file is written."""

from typing import Any

import pytest

from tests.support.plain import Plain
from wvo_mcp.execution.workspaces import promoting


class Died(BaseException):
    """The process ends here."""


async def cut_off(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of T1; it must change code.py."""
    run = promoting.Common.run

    def dies(common: Any, *words: str, **more: Any) -> bytes:
        if "-u" in words:
            (plain.root / "code.py").write_text("a =")
            raise Died
        return run(common, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(promoting.Common, "run", dies)
        with pytest.raises(Died):
            await plain.yard.promotions.promote("T1")
    plain.yard.again()
