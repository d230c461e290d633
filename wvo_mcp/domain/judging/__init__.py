"""Judges shell commands by the policy: a guard rail against agents that go astray (docs/security.md says what it is not).

Every simple command of a text is judged, also within substitutions, wrappers (`env`, `sudo`, `xargs`, `find -exec`) and
strings for a shell; the strictest verdict is that of the text. What cannot be known is asked.
"""
