"""Rewards of reinforcement: verifiers by name, each behind a guard that counts what goes wrong and lets none of it end the training."""
