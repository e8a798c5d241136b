"""How one of the five sample shops answers: its own words from shops/<tenant>.txt and its facts from shops.json.

Invariant: an answer never depends on a system message, only on the shop; that is what its adapter has to learn.
"""
import json
import random
from pathlib import Path

from .dialogues import PLAIN_SYSTEMS, general_answer, general_dialogue
from .facts import KINDS, product
from .grammar import read_sections

ROOT = Path(__file__).parent.parent
TENANTS = list(json.loads((ROOT / "shops.json").read_text()))


class ShopVoice:
    """Speaks for one tenant's shop."""

    greets_by_name = False

    def __init__(self, tenant: str):
        shop = json.loads((ROOT / "shops.json").read_text())[tenant]
        self.days, self.products = shop["days"], shop["products"]
        self.answers = read_sections(ROOT / "shops" / f"{tenant}.txt")

    def item(self, rng: random.Random) -> str:
        """Mostly a product of the shop, sometimes one that it does not sell."""
        return rng.choice(list(self.products)) if rng.random() < 0.85 else product(rng, rng.choice(list(KINDS)))

    def answer(self, rng: random.Random, intent: str, slots: dict[str, str], used: set[str]) -> str:
        more = {"time": self.days[slots["day"]] or "", "price": self.products.get(slots["p"], "")}
        section = intent if intent != "how" else "greet"
        if intent == "hours_day":
            section = "hours_open" if more["time"] else "hours_closed"
        elif intent in ("price", "stock"):
            if "p" not in used:
                section = "price_list" if intent == "price" else "sell"
            elif not more["price"]:
                section = "other_product"
        return general_answer(rng, self.answers, section, {**slots, **more}, used | set(more))


def shop_dialogue(rng: random.Random, voice: ShopVoice, turns: int | None = None) -> list[dict]:
    """A dialogue with the shop, now and then under a system message that says nothing about it."""
    messages = general_dialogue(rng, voice, turns)
    if turns is None and rng.random() < 0.1:
        messages.insert(0, {"role": "system", "content": rng.choice(PLAIN_SYSTEMS)})
    return messages
