"""Defaults are part of what a stage means: changing one demands a new stage version, so that old artifacts are not taken for new ones."""

from __future__ import annotations

from contracts.config import Config, digest, identity
from flows import dag
from models.config import ModelConfig
from tasks.ablation import ArmRequest, JudgeRequest
from tasks.ablation.config import Court, Modification
from tasks.conversion.config import ConversionConfig
from tasks.data.config import Acquisition, CurateConfig, Curation, SourceConfig, TokenizeConfig, TokenizerConfig
from tasks.evaluation import QualifyRequest
from tasks.evaluation.config import EvaluationConfig
from tasks.merging.config import Candidate, MergeInput, MergingConfig
from tasks.merging.requests import MergeRequest
from tasks.posttraining.chat_requests import ChatRequest, MeasureRequest, StepSources, VibeRequest
from tasks.posttraining.config import (
    ChatEvaluation,
    ChatSource,
    ChatTemplate,
    DistillationConfig,
    PreferenceConfig,
    ReinforcementConfig,
    SftConfig,
)
from tasks.posttraining.requests import DistillationRequest, PreferenceRequest, ReinforcementRequest, SftRequest
from tasks.training.config import Job, OptimizerConfig, Phase, Schedule

MODEL = ModelConfig(
    hidden_size=64,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    ffn_hidden_size=128,
    vocab_size=512,
    max_sequence_length=64,
)
PHASE = Phase(name="p", tokens=4096, mixture={"a": 1.0}, sequence_length=64, global_batch_size=4, schedule=Schedule(learning_rate=1e-3))

CASE = Court(tokens=4096, modifications=[Modification(name="change", hypothesis="h", change={"training.optimizer.beta2": 0.9})])
TEMPLATE, CHAT = ChatTemplate(), ChatSource(name="a", uri="chat.jsonl")
MERGING = MergingConfig(candidates=[Candidate(name="half", inputs=[MergeInput(stage="a", weight=0.5), MergeInput(stage="b", weight=0.5)])])
ARM = ArmRequest(name="baseline", model=MODEL, phase=PHASE)

# stage -> its config with every optional field unset
LEAST: dict[str, Config] = {
    "source": SourceConfig(sources=[Acquisition(name="a", kind="files", path="texts")]),
    "curate": CurateConfig(sources=[Curation(name="a")]),
    "tokenizer": TokenizerConfig(),
    "tokenize": TokenizeConfig(),
    "train": Job(model=MODEL, phase=PHASE, optimizer=OptimizerConfig(), seed=0),
    "qualify": QualifyRequest(arms=["baseline"], seeds=[0, 1, 2, 3], tokens=[1, 2, 3, 4, 5]),
    "court": JudgeRequest(court=CASE, before="p", arms=[ARM, ARM.model_copy(update={"name": "change", "modification": "change"})]),
    "convert": ConversionConfig(),
    "evaluate": EvaluationConfig(),
    "chat": ChatRequest(template=TEMPLATE, steps=[StepSources(stage="sft-main", holds="conversations", sources=[CHAT])]),
    "sft": SftRequest(template=TEMPLATE, step=SftConfig(sources=[CHAT])),
    "preference": PreferenceRequest(template=TEMPLATE, step=PreferenceConfig(sources=[CHAT])),
    "reinforcement": ReinforcementRequest(template=TEMPLATE, step=ReinforcementConfig(prompts=[CHAT])),
    "distillation": DistillationRequest(template=TEMPLATE, step=DistillationConfig(prompts=[CHAT], teacher="sft-big")),
    "measure": MeasureRequest(template=TEMPLATE, evaluation=ChatEvaluation()),
    "vibe": VibeRequest(template=TEMPLATE),
    "merge": MergeRequest(merging=MERGING, template=TEMPLATE, evaluation=ChatEvaluation()),
}

# stage -> (version, digest of the identity of its least config); raise the version in flows/<stage>.py when the digest changes
FROZEN: dict[str, tuple[int, str]] = {
    "source": (1, "7f9ac6fbc70b49b1d1c010fdfa487bcd"),
    "curate": (1, "752b32bed154a60bc27f1467601671bf"),
    "tokenizer": (1, "f14186ea17b1b56a46741dbc119bd8a9"),
    "tokenize": (1, "f81645877f0eb466d9f4ce01dbeb8152"),
    "train": (2, "9d25b7541c071e16cbca124a2f7aae14"),
    "qualify": (1, "da0f9dbb54407ac78c8b6d397d4c30b4"),
    "court": (2, "6875361e3c0bf49b123073cc9ff37e76"),
    "convert": (1, "77aac6c515936e084cab522dfa689484"),
    "evaluate": (3, "964a5ec556f56f273bc2e2dc1c4440b4"),
    "chat": (1, "5863cebcec340538f440bbee4437aa56"),
    "sft": (1, "eb78ff583512b8a78d22e5478d3449ec"),
    "preference": (2, "fdb8cc24a3b4788e5c08fbc571c52ef7"),
    "reinforcement": (1, "bab81a2806bf2950e3a39dd7b4c96dfd"),
    "distillation": (1, "144b50b0bb14a93acac88a450c932655"),
    "measure": (2, "dd7a40f828edd40898002ba2c9c7ca8e"),
    "vibe": (1, "4363e12c05d7bbd80b00f9991e173f8b"),
    "merge": (2, "f87c746bdf6bcba92c00a852f683c422"),
}


def test_defaults_change_only_with_the_stage_version() -> None:
    now = {kind.name: (kind.version, digest(identity(LEAST[kind.name]))) for kind in dag.KINDS if kind.name in LEAST}
    assert now == FROZEN


def test_a_changed_default_is_noticed() -> None:
    other = TokenizerConfig(digits="groups_of_three")
    assert digest(identity(other)) != FROZEN["tokenizer"][1]


def test_a_changed_gate_is_not() -> None:
    assert digest(identity(TokenizerConfig(max_fertility=9.0))) == FROZEN["tokenizer"][1]
