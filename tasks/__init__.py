"""How a step is done: one package per craft, plain functions that need no Prefect to test."""
