"""What runs: the whole DAG in playbook.py, one module per stage, the recipe, the stage contract. Wiring only: no torch, no arithmetic."""
