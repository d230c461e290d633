"""The providers.yaml that init writes: the packaged one, with what is not on this machine turned off."""

import shutil

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.execution.providers.parse import packaged_text

_PROGRAMS = (ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI, ProviderKind.OLLAMA)


def providers_text(path: str | None) -> str:
    """`path` is where programs are searched for, as PATH has it; None for PATH itself."""
    absent = [kind for kind in _PROGRAMS if shutil.which(kind.value, path=path) is None]
    text = packaged_text()
    for kind in absent:
        line = f"    kind: {kind}\n"
        off = f"{line}    enabled: false   # not found on this machine; take this line out when it is there\n"
        text = text.replace(line, off, 1)
    return text
