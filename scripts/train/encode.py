"""Examples -> token ids with a loss mask, and batches of similar length.

The loss counts only what the assistant says, its closing <|im_end|> included. Batches are padded on the right and never hold
two examples in one row, so an example never sees another's shop.
"""
import random

import torch

PAD = 3  # the id of <|pad|>: see tokenizer.py


def encode(tokenizer, example) -> tuple[list[int], list[bool]]:
    """Ids and, for each id, whether predicting it counts. `example`: chat messages, or a (prompt, answer) pair."""
    ids, mask = [], []

    def add(text: str, counts: bool):
        new = tokenizer.encode(text, add_special_tokens=False).ids
        ids.extend(new)
        mask.extend([counts] * len(new))

    if isinstance(example, tuple):
        add(example[0], False)
        add(example[1] + "<|im_end|>", True)
        return ids, mask
    for message in example:
        mine = message["role"] == "assistant"
        add(f"<|im_start|>{message['role']}\n", False)
        add(message["content"] + "<|im_end|>", mine)
        add("\n", False)
    return ids, mask


def batches(encoded, tokens: int, seed: int, longest: int = 512):
    """Lists of examples of similar length, about `tokens` padded tokens each, in random order."""
    rng = random.Random(seed)
    rows = [e for e in encoded if len(e[0]) <= longest]
    rng.shuffle(rows)
    rows.sort(key=lambda e: len(e[0]) + rng.random() * 16)
    out, batch = [], []
    for row in rows:
        if batch and (len(batch) + 1) * len(row[0]) > tokens:
            out.append(batch)
            batch = []
        batch.append(row)
    out.append(batch)
    rng.shuffle(out)
    return out


def collate(batch):
    """ids [rows, longest] int64 and mask [rows, longest] bool, padded on the right."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), longest), PAD)
    mask = torch.zeros((len(batch), longest), dtype=torch.bool)
    for i, (row, counts) in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = torch.tensor(counts)
    return ids, mask


def loss_sum(model, ids, mask):
    """Summed cross entropy in nats over the masked tokens, and their number."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = mask[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="sum"), int(wanted.sum())
