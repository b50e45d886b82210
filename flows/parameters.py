"""The parameters every flow shows in the Prefect UI: flat, with a default that runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

RecipeReference = Annotated[
    str,
    Field(
        title="Recipe",
        description="Built-in name (smoke, tiny, one-gpu, smollm3-3b) or a reference into the store that `smolflow run` printed",
        pattern=r"^(store:)?[A-Za-z0-9_.][A-Za-z0-9_./-]*$",
    ),
]
Overrides = Annotated[
    list[str], Field(title="Overrides", description="Changes of the recipe, each of the form a.b=c, for example training.seed=7")
]
Pool = Annotated[str, Field(title="Pool", description="Work pool this run is on")]
Inputs = Annotated[
    dict[str, str],
    Field(
        title="Input artifacts",
        description="Stages to take as they are: stage name to fingerprint. Empty: found by the recipe's fingerprints",
    ),
]
StageName = Annotated[
    str, Field(title="Stage", description="Which stage of this kind, for example train-stable. Empty: all of this kind, in order")
]
