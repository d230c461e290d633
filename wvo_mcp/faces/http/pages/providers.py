"""What each provider has left, what it took, and what went where."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit


async def _providers(visit: Visit) -> Data:
    """{status, budgets, usage}: as provider_status, budget_show and provider_usage have them. Nobody outside is asked."""
    return {
        "status": await visit.ask("provider_status"),
        "budgets": await visit.ask("budget_show"),
        "usage": await visit.ask("provider_usage"),
    }


PROVIDERS = Page("/providers", "providers.html", "Providers", _providers, nav="Providers")
