"""The MCP face. The SDK is imported by `server` and `sdk` alone."""
