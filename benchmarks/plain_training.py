#!/usr/bin/env python3
"""The peer of cpu_training.py: a training loop in plain torch, as one would write it by hand for one process.

The model is that of a recipe: RMSNorm, SwiGLU, RoPE, grouped-query attention with QK-norm, tied embeddings, fp32. It
prints the time of every step in the words of Megatron's log.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from megatron_sbp.recipe import Model, load_recipe


def rotary(length: int, size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotations: float32 [length, size] each."""
    frequencies = base ** (-torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Query or key [B, H, S, D], rotated."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Layer(nn.Module):
    """A decoder layer."""

    def __init__(self, model: Model):
        super().__init__()
        self.heads, self.groups, self.size = model.num_attention_heads, model.num_query_groups, model.head_size
        width, inner = model.hidden_size, model.ffn_hidden_size
        self.norms = nn.ModuleList(nn.RMSNorm(width, model.norm_epsilon) for _ in range(2))
        self.query_norm, self.key_norm = (nn.RMSNorm(self.size, model.norm_epsilon) for _ in range(2))
        self.qkv = nn.Linear(width, (self.heads + 2 * self.groups) * self.size, bias=False)
        self.out = nn.Linear(self.heads * self.size, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads = self.qkv(self.norms[0](x)).view(batch, length, -1, self.size).transpose(1, 2)
        query, key, value = heads.split((self.heads, self.groups, self.groups), 1)
        query, key = rotated(self.query_norm(query), cos, sin), rotated(self.key_norm(key), cos, sin)
        grouped = self.heads != self.groups
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        gate, up = self.up(self.norms[1](x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    """Loss of a batch of sequences."""

    def __init__(self, model: Model, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, model.hidden_size)
        self.layers = nn.ModuleList(Layer(model) for _ in range(model.num_layers))
        self.norm = nn.RMSNorm(model.hidden_size, model.norm_epsilon)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=model.init_method_std)
        self.cos, self.sin = rotary(model.sequence_length, model.head_size, model.rotary_base)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--vocabulary", type=int, required=True, help="padded as Megatron pads it")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = load_recipe(options.recipe)
    training, length = recipe.training, recipe.model.sequence_length
    torch.manual_seed(1)
    model = Decoder(recipe.model, options.vocabulary)
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, (training.adam_beta1, training.adam_beta2)
    )
    tokens = torch.randint(3, options.vocabulary, (options.steps, training.global_batch_size, length + 1))
    for batch in tokens:
        begin = time.perf_counter()
        loss = model(batch[:, :-1], batch[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        milliseconds = 1000 * (time.perf_counter() - begin)
        print(f"elapsed time per iteration (ms): {milliseconds:.2f} loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
