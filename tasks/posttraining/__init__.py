"""Post-training: chat template, supervised fine-tuning, preferences, reinforcement.

`config` describes the chain; the recipe and the plan read it.
"""
