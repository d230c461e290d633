"""A program that was stopped because its model said nothing."""

DEADLINE = 124
"""The exit code to give for a program that was stopped because it was silent for too long, as timeout(1) gives it."""

SILENT = "the model gave no answer until the program was stopped"


def is_silent(exit_code: int | None, waiting: bool) -> bool:
    """`waiting`: the last that it printed shows that it waited for its model, and not for a tool."""
    return exit_code == DEADLINE and waiting
