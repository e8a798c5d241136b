"""The training examples of one tenant's adapter, the same for every system that trains one.

Knows nothing of LoRA. Invariant: a tenant and a seed give one list, and no held-out question is in it.
"""
import json
import random
import re
from pathlib import Path

from corpus.shop_voice import ShopVoice, shop_dialogue

HELD_OUT = Path(__file__).parents[2] / "test" / "fixtures" / "held-out"


def normal(text: str) -> str:
    """The words alone, for comparing phrasings."""
    return " ".join(re.sub(r"[^a-z0-9 ]", "", text.lower()).split())


def held_out(tenant: str) -> list[dict]:
    """The tenant's held-out items: question, answer, fact."""
    return json.loads((HELD_OUT / f"{tenant}.json").read_text())["items"]


def tenant_dialogues(tenant: str, count: int, seed: int = 1, turns: int | None = None) -> list[list[dict]]:
    """`count` dialogues with the tenant's shop. Raises ValueError if a held-out question appears among them."""
    rng, voice = random.Random(f"{tenant} {seed}"), ShopVoice(tenant)
    out = [shop_dialogue(rng, voice, turns) for _ in range(count)]
    secret = {normal(item["question"]) for item in held_out(tenant)}
    for messages in out:
        for message in messages:
            if message["role"] == "user" and normal(message["content"]) in secret:
                raise ValueError(f"{tenant}: the held-out question {message['content']!r} is in the training data: phrase it otherwise")
    return out
