"""What the stage `report` is given beside the artifact folders: the run as the flow knows it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from contracts.config import Config, Placement
from tasks.reporting.view import Link, StageState


class ReportRequest(Config):
    """Everything a page needs that is not in a file of an artifact. Only the recipe is part of the page's identity."""

    recipe: dict[str, Any]
    """The resolved recipe."""
    recipe_yaml: Placement[str] = ""
    """Its text."""
    manifests: Placement[dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """Stage -> manifest of its artifact."""
    states: Placement[dict[str, StageState]] = Field(default_factory=dict)
    """Stage -> what happened to it in this run."""
    inputs: Placement[dict[str, dict[str, str]]] = Field(default_factory=dict)
    """Stage -> {role: stage}, for stages that have no manifest."""
    records: Placement[dict[str, dict[str, dict[str, Any]]]] = Field(default_factory=dict)
    """Stage -> records beside its artifact (verdicts of gates)."""
    links: Placement[list[Link]] = Field(default_factory=list)
    """Where to look further."""
    plan: Placement[str] = ""
    """The plan as text."""
    model_path: Placement[str] = ""
    """Folder of the final model."""
