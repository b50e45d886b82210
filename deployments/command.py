"""The `smolflow` command: thin and typed. Heavy imports wait inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from contracts.errors import SmolflowError
from deployments.chat_command import Mode, chat_data

app = App(
    name="smolflow",
    help="""From raw text to an evaluated language model, as a Prefect DAG.

First steps: `smolflow up` starts the local servers, `smolflow run --recipe tiny` runs the whole playbook,
`smolflow init --from tiny my.yaml` begins a recipe over your own folder of text.""",
)

app.command(chat_data)

Recipe = Annotated[str, Parameter(name=["--recipe", "-r"], help="Built-in name (see `smolflow init --list`) or the path of a .yaml file")]
Set = Annotated[list[str] | None, Parameter(name=["--set", "-s"], help="Change a field: a.b=c; may be given several times", negative=())]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON for a program", negative=())]


@app.command
def init(
    path: Annotated[Path | None, Parameter(help="File to write, for example my.yaml")] = None,
    *,
    source: Annotated[str, Parameter(name="--from", help="Built-in recipe to begin with")] = "tiny",
    text: Annotated[str | None, Parameter(help="Your folder of text (.txt .md .jsonl .parquet), or an fsspec URL")] = None,
    list_: Annotated[bool, Parameter(name="--list", help="List the built-in recipes", negative=())] = False,
    json: Json = False,
) -> None:
    """Write a recipe of your own, from a built-in one, to edit and run."""
    from deployments.recipe_command import init_recipe, list_recipes

    if list_ or path is None:
        list_recipes(json)
    else:
        init_recipe(path, source, text)


@app.command
def run(
    stage: Annotated[str | None, Parameter(help="One stage only, for example curate or train-stable; default: the whole playbook")] = None,
    *,
    recipe: Recipe = "smoke",
    set_: Set = None,
    dry_run: Annotated[bool, Parameter(help="Validate and plan, run nothing: stages, tokens, epochs, layout, memory", negative=())] = False,
    here: Annotated[bool, Parameter(help="Run in this process, without a worker (Cancel in the UI cannot reach it)", negative=())] = False,
    json: Json = False,
) -> None:
    """Run the playbook (or one stage) and follow it; what is already done is not done again."""
    from deployments.run_command import dry, run_recipe

    if dry_run:
        dry(recipe, set_ or [], json)
    else:
        run_recipe(recipe, set_ or [], stage, here, json)


@app.command
def up() -> None:
    """Start the local stack: Prefect server, MLflow server and a worker; register the flows."""
    from deployments.stack_command import up as start

    start()


@app.command
def down() -> None:
    """Settle running flows, then stop the worker and the servers."""
    from deployments.stack_command import down as stop

    stop()


@app.command
def status(*, json: Json = False) -> None:
    """What runs here: each server with URL, pid and log."""
    from deployments.stack_command import status as show_status

    show_status(json)


@app.command
def explain(*, recipe: Recipe = "smoke", set_: Set = None, json: Json = False) -> None:
    """Say stage by stage whether it would be reused or run again, why, and what that cost last time."""
    from deployments.store_command import explain_recipe

    explain_recipe(recipe, set_ or [], json)


@app.command
def ls(stage: Annotated[str | None, Parameter(help="Only this stage")] = None, *, json: Json = False) -> None:
    """List the artifacts in the store, newest first."""
    from deployments.store_command import list_artifacts

    list_artifacts(stage, json)


@app.command
def show(fingerprint: Annotated[str, Parameter(help="Beginning of an artifact's fingerprint")], *, json: Json = False) -> None:
    """Show one artifact: files, counts, gates, and its lineage back to the sources."""
    from deployments.store_command import show_artifact

    show_artifact(fingerprint, json)


@app.command
def gc(
    *,
    keep: Annotated[
        list[str] | None,
        Parameter(
            name=["--keep", "-k"],
            help="Recipe whose artifacts stay, with all they came from; may be repeated. Default with --dry-run: every built-in recipe",
            negative=(),
        ),
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Only list what would go", negative=())] = False,
    json: Json = False,
) -> None:
    """Remove artifacts that the recipes given with --keep do not need, and uncommitted parts."""
    from deployments.store_command import collect_garbage

    collect_garbage(keep or [], dry_run, json)


@app.command
def report(*, recipe: Recipe = "smoke", set_: Set = None, json: Json = False) -> None:
    """Print where the report page of a finished run lies."""
    from deployments.store_command import locate_report

    locate_report(recipe, set_ or [], json)


@app.command
def chat(
    *,
    recipe: Recipe = "tiny",
    set_: Set = None,
    stage: Annotated[str | None, Parameter(help="Whose model: release, merge, sft-main...; default: release, else the latest")] = None,
    mode: Annotated[Mode | None, Parameter(help="Reason before answering, or not; default: as the recipe's template says")] = None,
    system: Annotated[str, Parameter(help="What the system turn says")] = "",
    prompt: Annotated[str | None, Parameter(help="Answer this alone, and end")] = None,
    max_tokens: Annotated[int, Parameter(help="Longest answer; less where the model's window ends")] = 512,
    temperature: Annotated[float, Parameter(help="0: the likeliest token each time")] = 0.0,
    json: Json = False,
) -> None:
    """Talk with the model of a recipe: /think and /no_think, /system TEXT, /reset, /quit or Ctrl-D; Ctrl-C ends an answer.

    Thinking is shown dimmed on a terminal, and between its tags elsewhere.
    """
    from deployments.talk_command import Manner, talk

    talk(recipe, set_ or [], stage, prompt, Manner(mode, system, max_tokens, temperature), json)


@app.command
def push(
    *,
    recipe: Recipe = "tiny",
    set_: Set = None,
    to: Annotated[str, Parameter(help="OWNER/NAME on the Hugging Face hub")],
    public: Annotated[bool, Parameter(help="Make a new repository public; default: private", negative=())] = False,
    yes: Annotated[bool, Parameter(help="Upload; without it nothing leaves this machine", negative=())] = False,
    json: Json = False,
) -> None:
    """Upload the released model with its card to the Hugging Face hub; without --yes only say what would be uploaded.

    The token is taken from the environment (HF_TOKEN).
    """
    from deployments.release_command import push_release

    push_release(recipe, set_ or [], to, public, yes, json)


@app.command
def court(
    name: Annotated[str, Parameter(help="Name of a court, or beginning of its fingerprint; default: the newest over this recipe")] = "",
    *,
    recipe: Recipe = "tiny",
    set_: Set = None,
    page: Annotated[bool, Parameter(help="Only write its page, with every metric, curve and run, and print where", negative=())] = False,
    json: Json = False,
) -> None:
    """What a court decided: every change against the baseline, with the verdict in a sentence, and the baseline it proposes.

    A recipe's own courts (its section `ablations`) are held by `smolflow run`; the backlog's by the deployment `backlog` in the
    Prefect UI, weekly or when a person starts it.
    """
    from deployments.court_command import show_court

    show_court(name, recipe, set_ or [], page, json)


@app.command
def scaling(
    *,
    recipe: Recipe = "tiny",
    set_: Set = None,
    metric: Annotated[str, Parameter(help="What is minimised, for example bits_per_byte or bits_per_byte/code")] = "bits_per_byte",
    target: Annotated[float | None, Parameter(help="FLOPs to extend the laws to; default: those of the recipe's own phases")] = None,
    page: Annotated[bool, Parameter(help="Only write the page with the plots, and print where", negative=())] = False,
    json: Json = False,
) -> None:
    """Power laws of learning rate, batch and loss over compute, fitted to the runs of all courts of a recipe.

    A scaling study is one court for each compute budget, each with a grid over learning rate and batch; three budgets at least.
    """
    from deployments.scaling_command import show_scaling

    show_scaling(recipe, set_ or [], metric, target, page, json)


@app.command
def backlog(*, recipe: Recipe = "tiny", set_: Set = None, json: Json = False) -> None:
    """The changes that wait for a court, each with its state over this recipe, read from the courts' decisions.

    proposed: no court has judged it as it is written now. tested: judged, nothing decided. accepted: better, or worth its cost; it is
    part of the next baseline once a person adopts that. rejected: worse, or without its benefit.
    """
    from deployments.court_command import show_backlog

    show_backlog(recipe, set_ or [], json)


@app.command
def adopt(
    fingerprint: Annotated[str, Parameter(help="Beginning of the court's fingerprint; `smolflow court` prints it")],
    *,
    recipe: Recipe,
    by: Annotated[str, Parameter(help="Who adopts it; stands in the new recipe")],
    output: Annotated[Path | None, Parameter(help="File to write; default: RECIPE-vN.yaml, beside a file of your own")] = None,
) -> None:
    """Make a court's accepted changes the next baseline: writes a new recipe with what changed and under whose name.

    A court only proposes. What `smolflow run` trains changes when it is given the new file; the old one is left as it is.
    """
    from deployments.court_command import adopt_court

    adopt_court(fingerprint, recipe, by, output)


@app.command
def logs(
    run_name: Annotated[str | None, Parameter(help="Name or id of a run; default: the newest")] = None,
    *,
    server: Annotated[str | None, Parameter(help="Log of a server instead: prefect, mlflow or worker")] = None,
    lines: Annotated[int, Parameter(help="How many lines from the end")] = 100,
) -> None:
    """Print the log of a run or of a server."""
    from deployments.stack_command import logs as show_logs

    show_logs(run_name, server, lines)


@app.command
def cancel(run_name: Annotated[str | None, Parameter(help="Name or id of a run; default: the newest that runs")] = None) -> None:
    """Cancel a run: its processes save a checkpoint and end."""
    from deployments.stack_command import cancel as cancel_run

    cancel_run(run_name)


@app.command
def doctor(*, json: Json = False) -> None:
    """What this machine has and lacks, and which code paths that opens."""
    from deployments.stack_command import doctor as examine

    examine(json)


def main() -> None:
    """Console entry: an error a person can act on is printed as such and ends with exit code 1."""
    try:
        app()
    except SmolflowError as error:
        print(f"smolflow: {error}", file=sys.stderr)
        if shutil.which("smolflow") is None:
            print(f"  (smolflow is {sys.argv[0]} here)", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("smolflow: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
