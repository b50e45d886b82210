"""Merging: averages of checkpoints and the choice among them.

`config` describes the merge; the recipe and the plan read it.
"""
