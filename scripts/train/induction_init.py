"""Starts the base model with a working copy circuit: a previous-token head and matching heads (an "induction" circuit).

Copying a name or a price out of the prompt is learnt late: a small model needs tens of millions of tokens to find it (Olsson
et al., "In-context Learning and Induction Heads", 2022). Set by hand at the start, training only has to keep and sharpen it.

Layer 0, heads 0 and 1 attend to the token before, through the high rotary frequencies and a direction that all embeddings
share, and write what they see into a subspace that the embeddings leave free. Layer 1, all heads, looks for an earlier place
whose previous token is the current one, through the low rotary frequencies, and repeats the token found there.
"""
import torch

EMBED_STD = 0.25
NORM = EMBED_STD * 16  # length of an embedding of width 256
READ = 11.3  # length of an embedding's content after RMSNorm, beside the shared direction: 16 / sqrt(2)


@torch.no_grad()
def set_induction(model, seed: int):
    """Overwrites embeddings, output projections and layers 0 and 1's attention of a fresh model of width 256, head size 64."""
    model.model.embed_tokens.weight.mul_(EMBED_STD / model.config.initializer_range)
    model.model.norm.weight.fill_(0.5 / NORM)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    basis = torch.linalg.qr(torch.randn(256, 256, generator=torch.Generator().manual_seed(seed)))[0]
    shared, free, content, copied = basis[:, 0], basis[:, 1:65].T, basis[:, 65:129].T, basis[:, 65:193].T
    embed = model.model.embed_tokens.weight
    embed.sub_(embed @ free.T @ free)
    embed.sub_((embed @ shared)[:, None] * shared)
    embed.add_(NORM * shared)

    frequencies = 10000.0 ** (-torch.arange(32) / 32)
    fast = (torch.arange(32) < 10).float()
    key = torch.cat([fast, torch.zeros(32)])
    query = torch.cat([fast * frequencies.cos(), -fast * frequencies.sin()])  # turned back by one position
    previous = model.model.layers[0].self_attn
    previous.k_proj.weight[:64] = 8 / READ * key[:, None] * shared
    previous.v_proj.weight[:64] = content / READ
    for head in (0, 1):
        rows = slice(head * 64, head * 64 + 64)
        previous.q_proj.weight[rows] = 10 / READ * query[:, None] * shared
        previous.o_proj.weight[:, rows] = free.T * NORM

    slow = torch.cat([torch.arange(16, 32), torch.arange(48, 64)])
    match = model.model.layers[1].self_attn
    for pair in (0, 1):
        part, rows = slice(pair * 32, pair * 32 + 32), slice(pair * 64, pair * 64 + 64)
        now, before = torch.zeros(64, 256), torch.zeros(64, 256)
        now[slow], before[slow] = 2.5 * content[part], 2.5 * free[part]
        match.k_proj.weight[rows] = before
        match.v_proj.weight[rows] = copied[rows] / READ
        for head in (2 * pair, 2 * pair + 1):
            heads = slice(head * 64, head * 64 + 64)
            match.q_proj.weight[heads] = now
            match.o_proj.weight[:, heads] = copied[rows].T * NORM * 4
