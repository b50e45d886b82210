"""A store with a tiny random model and chat data, and training stages of it as jobs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from infra.job import InputRef, JobSpec
from infra.store import Store
from tasks.posttraining.config import ChatTemplate, DistillationConfig, PreferenceConfig, SftConfig
from tasks.posttraining.plug import Given, Prepare, Prepared
from tasks.posttraining.requests import DistillationRequest, PreferenceRequest, SftRequest, StepRequest
from tasks.posttraining.trl_arguments import Ground
from tests.tasks.posttraining.material import write_lines
from tests.tasks.training.material import Running

CHECKOUT = Path(__file__).resolve().parents[3]
TEMPLATE = ChatTemplate(kind="smollm3")


def write_model(folder: Path, out: Path, seed: int = 0, **changes: Any) -> Path:
    """A random SmolLM3 of 2 layers x 32 beside the tokenizer of `folder`, as the stage `convert` leaves it; `changes` are of its config."""
    import torch
    from transformers import AutoTokenizer, SmolLM3Config, SmolLM3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    base: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True, "no_rope_layer_interval": 2,
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.08,
        "use_sliding_window": False,
    }  # fmt: skip
    SmolLM3ForCausalLM(SmolLM3Config(**(base | changes))).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def sums(count: int, seed: int = 0, mode: str = "no_think") -> list[dict[str, Any]]:
    """Conversations: a sum asked for, and answered in a mode."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        thought = f"<think>\n{a}+{b}={a + b}\n</think>\n" if mode == "think" else ""
        said = {"role": "assistant", "content": f"{thought}The answer is {a + b}."}
        rows.append({"messages": [{"role": "system", "content": f"/{mode}"}, {"role": "user", "content": f"What is {a}+{b}?"}, said]})
    return rows


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Preference pairs: a right sum, and one that is off by one."""
    rows = []
    for row in sums(count, seed):
        *prompt, said = row["messages"]
        wrong = said["content"].replace("is ", "is 1")
        rows.append({"prompt": prompt, "chosen": [said], "rejected": [{"role": "assistant", "content": wrong}]})
    return rows


def sft_step(**changes: Any) -> SftConfig:
    """Twelve steps of eight conversations of the source `sums`."""
    base: dict[str, Any] = {
        "sources": [{"name": "sums", "uri": "generated:add"}], "schedule": {"learning_rate": 3e-3}, "epochs": 2, "global_batch_size": 8,
        "max_length": 96, "placement": {"micro_batch_size": 8, "checkpoint_every": 4},
    }  # fmt: skip
    return SftConfig.parse(base | changes, "step")


def preference_step(**changes: Any) -> PreferenceConfig:
    """Twelve steps of four pairs."""
    base: dict[str, Any] = {
        "sources": [{"name": "sums", "uri": "generated:add"}], "pairs": {}, "schedule": {"learning_rate": 1e-3}, "global_batch_size": 4,
        "max_length": 96, "sft_weight": 1.0, "epochs": 2, "placement": {"micro_batch_size": 4, "checkpoint_every": 4},
    }  # fmt: skip
    return PreferenceConfig.parse(base | changes, "step")


def distillation_step(**changes: Any) -> DistillationConfig:
    """Twelve steps of eight answers."""
    base: dict[str, Any] = {
        "prompts": [{"name": "sums", "uri": "generated:add"}], "teacher": "sft-teacher", "schedule": {"learning_rate": 3e-3},
        "global_batch_size": 8, "steps": 12, "max_answer_tokens": 12, "placement": {"micro_batch_size": 4, "checkpoint_every": 4},
    }  # fmt: skip
    return DistillationConfig.parse(base | changes, "step")


def request_of(step: SftConfig | PreferenceConfig | DistillationConfig, template: ChatTemplate = TEMPLATE) -> StepRequest:
    """The request of a step."""
    if isinstance(step, SftConfig):
        return SftRequest(template=template, step=step)
    if isinstance(step, DistillationConfig):
        return DistillationRequest(template=template, step=step)
    return PreferenceRequest(template=template, step=step)


def weights(folder: Path) -> str:
    """Hash of every weight of a model folder."""
    from safetensors.torch import load_file

    found = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


@dataclass
class Lab:
    """A store with the artifacts that a training stage reads, and a place for jobs."""

    root: Path
    model: Path
    inputs: dict[str, Path] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store.open(str(self.root / "store"))

    def chat(self, stage: str, **sources: Sequence[Any]) -> Path:
        """The artifact of `chat` for one step."""
        folder = self.root / "chat" / stage
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in sources.items():
            write_lines(folder / f"{name}.jsonl", rows)
        self.inputs["chat"] = self.root / "chat"
        return self.root / "chat"

    def pairs(self, train: Sequence[Any], heldout: Sequence[Any]) -> Path:
        """The artifact of `pairs-main`."""
        folder = self.root / "pairs"
        folder.mkdir(exist_ok=True)
        write_lines(folder / "pairs.jsonl", train)
        write_lines(folder / "heldout.jsonl", heldout)
        self.inputs["pairs"] = folder
        return folder

    def taught(self, teacher: Path, count: int = 24) -> Lab:
        """With a teacher, and sums in both modes for `distillation-main`: an epoch is three steps."""
        self.chat("distillation-main", sums=[*sums(count // 2), *sums(count // 2, mode="think")])
        self.inputs["teacher"] = teacher
        return self

    def prepared(self, request: StepRequest) -> Prepared:
        """The stage made ready in this process."""
        prepare: Prepare = import_module(f"tasks.posttraining.{request.kind}").prepare
        return prepare(Given(request, {"model": self.model, **self.inputs}, self.root / "work", Ground("cpu")))

    def spec(self, request: StepRequest, key: str = "w", processes: int = 1) -> JobSpec:
        """The stage as a job; its inputs are committed on the way."""
        refs = {}
        for role, folder in {"model": self.model, **self.inputs}.items():
            fingerprint = f"fingerprint-{role}"
            if self.store.find(fingerprint) is None:
                with self.store.begin(role, f"key-{role}") as workspace:
                    workspace.commit(fingerprint, [workspace.put("result", folder)])
            refs[role] = InputRef(stage=role, fingerprint=fingerprint)
        return JobSpec(
            stage=request.stage, craft="posttraining", fingerprint=f"fp-{key}", workspace_key=key, store=str(self.root / "store"),
            config=request.model_dump(mode="json"), inputs=refs, processes=processes,
        )  # fmt: skip

    def here(self, spec: JobSpec, monkeypatch: Any, folder: str = "job") -> dict[str, Any]:
        """Run the job in this process; its result.json."""
        from tasks.posttraining.worker import main

        monkeypatch.setenv("SMOLFLOW_JOB_DIR", str(self.root / folder))
        monkeypatch.setenv("SMOLFLOW_SCRATCH", str(self.root / "scratch"))
        code = main(spec)
        result = dict(json.loads((self.root / folder / "result.json").read_text()))
        assert result["exit"] == code
        return result

    def start(self, spec: JobSpec, folder: str = "job") -> Running:
        """The job as a process of its own."""
        job = self.root / folder
        job.mkdir(exist_ok=True)
        (job / "spec.json").write_text(spec.model_dump_json())
        environment = os.environ | {
            "SMOLFLOW_JOB_DIR": str(job), "SMOLFLOW_SCRATCH": str(self.root / "scratch"), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(CHECKOUT), "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        ranks = [
            "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={spec.processes}", "--rdzv-backend=c10d",
            "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1",
        ]  # fmt: skip
        command = [sys.executable, *(ranks if spec.processes > 1 else []), "-m", "tasks.posttraining.worker", str(job / "spec.json")]
        with (job / "log.txt").open("ab") as log:
            return Running(job, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=job))

    def part(self, spec: JobSpec, name: str = "result") -> Path:
        """A sealed part's files, fetched."""
        with self.store.begin(spec.stage, spec.workspace_key) as workspace:
            part = next(p for p in workspace.parts() if p.name == name)
            return workspace.fetch(part, self.root / "fetched" / spec.workspace_key / name)

    def part_names(self, spec: JobSpec) -> list[str]:
        """Names of sealed parts."""
        with self.store.begin(spec.stage, spec.workspace_key) as workspace:
            return [part.name for part in workspace.parts()]
