"""Why a provider failed and what it used, read from what programs print and servers answer. Pure: the clock is a parameter.

`output` and `sentences` are imported with the first report: they would take part of every start.
"""
