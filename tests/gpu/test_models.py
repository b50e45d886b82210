"""The GPU path: Transformer Engine's layers, bfloat16 and every FP8 recipe, against a plain float32 transformer in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from models.config import ModelConfig
from models.layout import Layout, check
from models.precision import Precision

pytestmark = pytest.mark.gpu

LENGTH, BATCH, SEED = 128, 2, 3
MODEL = ModelConfig(
    hidden_size=256,
    num_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    ffn_hidden_size=512,
    vocab_size=1024,
    max_sequence_length=LENGTH,
    no_rope_every=4,
    init_std=0.06,
)
BF16 = Precision(dtype="bfloat16")
RECIPES = {
    "delayed": Precision(dtype="bfloat16", fp8="hybrid", fp8_recipe="delayed"),
    "tensorwise": Precision(dtype="bfloat16", fp8="hybrid", fp8_recipe="tensorwise"),
    "tensorwise, ends in bfloat16": Precision(dtype="bfloat16", fp8="hybrid", bf16_first_layers=1, bf16_last_layers=1),
    "blockwise": Precision(dtype="bfloat16", fp8="e4m3", fp8_recipe="blockwise"),
}


@pytest.fixture(scope="module", autouse=True)
def one_gpu() -> Iterator[None]:
    from models import parallel

    parallel.initialise(Layout(), seed=1)
    yield
    parallel.destroy()


def built(precision: Precision, layout: Layout | None = None, model: ModelConfig = MODEL) -> torch.nn.Module:
    from models import build

    return build.build(model, layout or Layout(), precision, LENGTH, seed=SEED)[0]


def batch() -> dict[str, torch.Tensor]:
    tokens = torch.randint(0, MODEL.vocab_size, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(5)).cuda()
    position = torch.arange(LENGTH, device="cuda").expand(BATCH, -1).contiguous()
    return {"tokens": tokens[:, :-1].contiguous(), "labels": tokens[:, 1:].contiguous(), "position": position}


def rotated(x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """RoPE on [b, heads, s, d] by halves."""
    half = x.size(-1) // 2
    angle = position[:, None, :, None] / MODEL.rope_theta ** (torch.arange(half, device=x.device) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def plain(
    weight: dict[str, torch.Tensor], tokens: torch.Tensor, position: torch.Tensor, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits [b, s, vocab] of the same architecture in a few lines of torch; `hidden` [s, s]: True where a token may not look."""
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=tokens.device).tril() if hidden is None else ~hidden
    x = weight["model.embed_tokens.weight"][tokens]
    d = MODEL.kv_channels
    for layer, rope in enumerate(MODEL.rope_layers):
        w = {name.split(".", 3)[3]: value for name, value in weight.items() if name.startswith(f"model.layers.{layer}.")}
        h = F.rms_norm(x, (MODEL.hidden_size,), w["input_layernorm.weight"], MODEL.rms_norm_eps)
        q, k, v = (F.linear(h, w[f"self_attn.{n}_proj.weight"]).unflatten(-1, (-1, d)).transpose(1, 2) for n in "qkv")
        if rope:
            q, k = rotated(q, position), rotated(k, position)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2).flatten(2)
        x = x + F.linear(a, w["self_attn.o_proj.weight"])
        h = F.rms_norm(x, (MODEL.hidden_size,), w["post_attention_layernorm.weight"], MODEL.rms_norm_eps)
        x = x + F.linear(F.silu(F.linear(h, w["mlp.gate_proj.weight"])) * F.linear(h, w["mlp.up_proj.weight"]), w["mlp.down_proj.weight"])
    x = F.rms_norm(x, (MODEL.hidden_size,), weight["model.norm.weight"], MODEL.rms_norm_eps)
    return F.linear(x, weight["model.embed_tokens.weight"])


def drawn() -> dict[str, torch.Tensor]:
    from models import huggingface, weights

    shapes = huggingface.shapes(MODEL)
    return {name: weights.initial_weight(MODEL, name, shape, SEED).cuda() for name, shape in shapes.items()}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


def test_layers_come_from_transformer_engine() -> None:
    layer: Any = built(BF16).module.decoder.layers[0]
    assert type(layer.self_attention.linear_qkv).__name__ == "TELayerNormColumnParallelLinear"
    assert type(layer.self_attention.core_attention).__name__ == "TEDotProductAttention"
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16} and {p.device.type for p in layer.parameters()} == {"cuda"}


def test_weights_are_those_drawn_on_any_device() -> None:
    from models import weights

    exported = dict(weights.export([built(BF16)], MODEL))
    assert all(torch.equal(exported[name], value.bfloat16()) for name, value in drawn().items())


def test_bfloat16_logits_and_loss_equal_a_plain_transformer() -> None:
    b, net = batch(), built(BF16)
    expected = plain(drawn(), b["tokens"], b["position"])
    with torch.no_grad():
        logits = net(b["tokens"], b["position"], None)
        loss = net(b["tokens"], b["position"], None, labels=b["labels"])
    assert relative(logits, expected) < 0.02
    torch.testing.assert_close(loss, F.cross_entropy(expected.transpose(1, 2), b["labels"], reduction="none"), atol=0.1, rtol=0.02)


def test_packed_documents_do_not_see_one_another() -> None:
    from models import build

    b, net = batch(), built(BF16)
    starts = [0, 24, 88]
    position = torch.cat([torch.arange(end - start) for start, end in zip(starts, [24, 88, LENGTH], strict=True)]).cuda()
    document = torch.bucketize(torch.arange(LENGTH), torch.tensor(starts), right=True).cuda()
    hidden = (document[:, None] != document[None, :]) | ~torch.ones(LENGTH, LENGTH, dtype=torch.bool, device="cuda").tril()
    edges = [row * LENGTH + start for row in range(BATCH) for start in starts] + [BATCH * LENGTH]
    packing = build.packed_params(torch.tensor(edges, dtype=torch.int32, device="cuda"))
    with torch.no_grad():
        logits = net(b["tokens"].reshape(1, -1), position.repeat(BATCH)[None], None, packed_seq_params=packing)
    expected = plain(drawn(), b["tokens"], position.expand(BATCH, -1), hidden)
    assert relative(logits.reshape(expected.shape), expected) < 0.02


@pytest.mark.parametrize("name", RECIPES)
def test_every_fp8_recipe_trains_the_same_model_coarsely(name: str) -> None:
    precision, b = RECIPES[name], batch()
    version = tuple(int(part) for part in str(torch.version.cuda).split("."))
    check(
        MODEL,
        Layout(micro_batch_size=BATCH),
        precision,
        sequence_length=LENGTH,
        global_batch_size=BATCH,
        device="cuda",
        compute_capability=torch.cuda.get_device_capability(),
        cuda_version=(version[0], version[1]),
    )
    net, reference = built(precision), built(BF16)
    for _ in range(3):  # the delayed recipe needs a history of maxima
        net.zero_grad()
        loss = net(b["tokens"], b["position"], None, labels=b["labels"])
        loss.mean().backward()
    reference(b["tokens"], b["position"], None, labels=b["labels"]).mean().backward()
    with torch.no_grad():
        logits, expected = (model(b["tokens"], b["position"], None) for model in (net, reference))
    assert 1e-4 < relative(logits, expected) < 0.15  # rounded more coarsely than bfloat16: FP8 is really on
    gradients = {n: p.grad for n, p in reference.named_parameters()}
    assert all(relative(p.grad, gradients[n]) < 0.3 for n, p in net.named_parameters() if p.dim() == 2)


def test_the_weight_gradient_can_be_accumulated_inside_the_product() -> None:
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig

    b = batch()
    accumulated = []
    for fused in (False, True):
        net: Any = built(BF16, Layout(gradient_accumulation_fusion=fused))
        ddp = DistributedDataParallel(net.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), net)
        ddp.zero_grad_buffer()
        for _ in range(2):
            ddp(b["tokens"], b["position"], None, labels=b["labels"]).mean().backward()
        ddp.finish_grad_sync()
        accumulated.append({name: p.main_grad.clone() for name, p in ddp.module.named_parameters()})
    assert all(relative(accumulated[1][name], value) < 0.02 for name, value in accumulated[0].items())
