"""Ablation: one change at a time against a baseline, judged against measured noise."""
