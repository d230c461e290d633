"""Every driver that this program has, by the kind of the providers that it serves."""

from collections.abc import Mapping

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.execution.agents.claude import ClaudeRun
from wvo_mcp.execution.agents.codex import CodexRun
from wvo_mcp.execution.agents.gemini import GeminiRun
from wvo_mcp.execution.agents.lines import LineDriver
from wvo_mcp.execution.agents.local import LocalDriver
from wvo_mcp.ports.agents import AgentDriver


def drivers() -> Mapping[str, AgentDriver]:
    runs = {ProviderKind.CLAUDE: ClaudeRun, ProviderKind.CODEX: CodexRun, ProviderKind.GEMINI: GeminiRun}
    local = LocalDriver()
    programs = {kind.value: LineDriver(run) for kind, run in runs.items()}
    return {**programs, ProviderKind.OLLAMA.value: local, ProviderKind.OPENAI.value: local}
