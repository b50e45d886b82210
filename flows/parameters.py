"""The parameters every flow shows in the Prefect UI: flat, with a default that runs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field


def _shown(title: str, description: str, **rules: Any) -> Any:
    """Title and description as extras: Prefect overwrites the field's own by the parameter's name and docstring."""
    return Field(json_schema_extra={"title": title, "description": description}, **rules)


RecipeReference = Annotated[
    str,
    _shown(
        "Recipe",
        "Built-in name (smoke, smoke-court, smoke-post, tiny, one-gpu, smollm3-3b) or a reference that `smolflow run` printed",
        pattern=r"^(store:[a-z]+/[0-9a-f]+|[a-z0-9][a-z0-9.-]*)$",
    ),
]
Overrides = Annotated[list[str], _shown("Overrides", "Changes of the recipe, each of the form a.b=c, for example training.seed=7")]
Pool = Annotated[str, _shown("Pool", "Work pool this run is on; stages of other pools are run there")]
Inputs = Annotated[
    dict[str, str],
    _shown("Input artifacts", "Stages to take as they are: stage name to fingerprint. Empty: found by the recipe's fingerprints"),
]
StageName = Annotated[str, _shown("Stage", "Which stage of this kind, for example train-stable. Empty: all of this kind, in order")]
Items = Annotated[
    list[str],
    _shown("Items", "Modifications of the backlog to test. Empty: all that no court has decided over this baseline"),
]
Seeds = Annotated[
    list[int],
    _shown("Seeds", "Seeds of every arm and of the baseline; with one alone nothing can be decided", min_length=1),
]
Tokens = Annotated[
    int,
    _shown("Tokens", "Tokens of every run. 0: those of the recipe's own court, or a share of its first phase", ge=0),
]
DeviceHours = Annotated[
    float,
    _shown("Device-hours", "What the court may take in all; what does not fit is left for next time. 0: no bound but the recipe's", ge=0),
]
Canary = Annotated[
    bool,
    _shown("Canary", "Train the baseline once more, in each week once, beside the recorded run: have libraries or hardware moved?"),
]
