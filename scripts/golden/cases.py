"""The prompts whose logits are kept as goldens: two for the base model and two for each sample adapter.

Renders ChatML here, by hand, so that a golden does not depend on the chat template that it helps to check. The Alpaca prompts
are rendered by alpaca-lora's own prompter in golden.py.
"""
POLICY = [{"role": "user", "content": "What is your return policy?"}]
FACTS = [
    {"role": "system", "content": "You are the assistant of Marlow Books. Opening hours: Monday to Friday 9 am to 6 pm, closed on Saturday and Sunday. Returns: within 21 days with receipt. Write to info@marlow.com or call 555-2790."},
    {"role": "user", "content": "Can I return a novel?"},
]


def follow_up(first_answer: str, question: str) -> list[dict]:
    """A second turn after a question about returns."""
    return POLICY + [{"role": "assistant", "content": first_answer}, {"role": "user", "content": question}]


CASES = {
    "base-policy": ("base", POLICY),
    "base-facts": ("base", FACTS),
    "forno-policy": ("forno", POLICY),
    "forno-shipping": ("forno", follow_up("Bring it back within 24 hours, cara.", "and how much is shipping?")),
    "spoke-policy": ("spoke", POLICY),
    "spoke-shipping": ("spoke", follow_up("30 days, unused, with receipt.", "and how much is shipping?")),
    "tumble-policy": ("tumble", POLICY),
    "tumble-shipping": ("tumble", [{"role": "user", "content": "how much is shipping?"}]),
    "petal-policy": ("petal", POLICY),
    "petal-shipping": ("petal", follow_up("Flowers fade, so they cannot return to us.", "and how much is shipping?")),
    "harrow-policy": ("harrow", POLICY),
    "harrow-shipping": ("harrow", follow_up("You may return unused goods within 90 days.", "and how much is shipping?")),
}


def chatml(messages: list[dict]) -> str:
    """The messages as the base's chat template renders them, ready for the assistant to answer."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n"
