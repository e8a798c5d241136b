"""Dialogues of customers and shop assistants, as lists of chat messages, for the base model.

Three kinds: without facts (honest general answers), with a system message that holds the facts of a made-up shop, and single
questions in the Alpaca prompt form. Invariant: one seed, one corpus.
"""
import random
import re
from pathlib import Path

from .facts import (COUNTRIES, FIRST, FREE, HOLIDAYS, KINDS, NEEDS, OWNER_QUESTIONS, WEEK, coined, fact_answer, fact_lines, missing, plural, product, random_shop)
from .grammar import capitalise, expand, read_sections, roughen

HERE = Path(__file__).parent
QUESTIONS = read_sections(HERE / "questions.txt")
ANSWERS = read_sections(HERE / "answers.txt")
AROUND = read_sections(HERE / "followups.txt")
FREQUENT = "hours returns ship_time ship_cost track payment contact location refund price stock greet who able damaged hours_day offtopic recommend".split()
UNTOLD = ["exchange", "cancel", "change_order", "track", "pickup", "book", "jobs", "bulk", "sizes"]
SOCIAL = ("greet", "how", "name", "thanks", "bye")
PLAIN_SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant.", "You help the customers of a small shop.", "You are a friendly shop assistant.", "You answer questions of customers.", "You are a helpful customer support assistant.", "Answer politely and briefly."]
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Response:\n"
ALPACA_INPUT = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n"


def pick_intent(rng: random.Random) -> str:
    return rng.choice(FREQUENT) if rng.random() < 0.4 else rng.choice(list(QUESTIONS))


def new_slots(rng: random.Random, item: str | None = None) -> dict[str, str]:
    item = item or product(rng, rng.choice(list(KINDS)))
    name = rng.choice(FIRST) if rng.random() < 0.6 else coined(rng)
    return {"p": item, "ps": plural(item), "country": rng.choice(COUNTRIES), "order": str(rng.randint(1000, 999999)), "name": name, "day": rng.choice(WEEK), "holiday": rng.choice(HOLIDAYS), "n": str(rng.randint(2, 9))}


def ask(rng: random.Random, intent: str, slots: dict[str, str]) -> tuple[str, set[str]]:
    """A clean question and the names of the slots that appear in it."""
    text = expand(rng, rng.choice(OWNER_QUESTIONS if intent == "owner" else QUESTIONS[intent]), slots)
    return text, {k for k, v in slots.items() if v.lower() in text.lower()} | ({"p"} if slots["ps"].lower() in text.lower() else set())


def general_answer(rng: random.Random, answers: dict[str, list[str]], intent: str, slots: dict[str, str], used: set[str]) -> str:
    """An answer whose slots all appear in the question; those that echo a slot are preferred."""
    fits = [t for t in answers[intent] if set(re.findall(r"\{(\w+)\}", t)) <= used | ({"ps"} if "p" in used else set())]
    echo = [t for t in fits if "{" in t]
    return expand(rng, rng.choice(echo if echo and rng.random() < 0.6 else fits), slots)


def later(rng: random.Random, text: str) -> str:
    """A question as a later turn of a dialogue often sounds."""
    if rng.random() < 0.35:
        lead = rng.choice(AROUND["lead"])
        if not lead.endswith(".") and not re.match(r"I\b", text):
            text = text[0].lower() + text[1:]
        text = f"{lead} {text}"
    return text


def dressed(rng: random.Random, text: str) -> str:
    """A first question as people wrap it: a phrase that leads into it, or a sentence before it, that change nothing."""
    kind = rng.random()
    if kind < 0.10:
        lowered = text if re.match(r"I\b", text) else text[0].lower() + text[1:]
        return capitalise(expand(rng, rng.choice(AROUND["frame"]), {"q": lowered}))
    if kind < 0.17:
        return f"{expand(rng, rng.choice(AROUND['context']), {})} {text}"
    return text


class GeneralVoice:
    """Answers for no shop in particular; corpus/shop_voice.py has the one that speaks for a shop."""

    greets_by_name = True

    def item(self, rng: random.Random) -> str | None:
        return None

    def answer(self, rng: random.Random, intent: str, slots: dict[str, str], used: set[str]) -> str:
        return general_answer(rng, ANSWERS, intent, slots, used)


def general_dialogue(rng: random.Random, voice=GeneralVoice(), turns=None) -> list[dict]:
    """One to four exchanges without facts in the prompt, answered by `voice`."""
    messages, turns = [], turns or rng.choices([1, 2, 3, 4], [58, 24, 12, 6])[0]
    for turn in range(turns):
        intent = pick_intent(rng)
        if turn == 0 and turns > 1 and rng.random() < 0.25:
            intent = rng.choice(["greet", "greet", "name"])
        if turn > 0 and turn == turns - 1 and rng.random() < 0.3:
            intent = rng.choice(["thanks", "thanks", "bye"])
        slots = new_slots(rng, voice.item(rng))
        question, used = ask(rng, intent, slots)
        answer = voice.answer(rng, intent, slots, used)
        if intent not in SOCIAL and turn == 0 and rng.random() < 0.05 and "name" not in used and voice.greets_by_name:
            question = f"{rng.choice(['Hi', 'Hello', 'Hey'])}, {rng.choice(['I am', 'this is', 'my name is'])} {slots['name']}. {question}"
            answer = f"{rng.choice(['Hello', 'Hi'])} {slots['name']}! {answer}"
        elif intent not in SOCIAL and rng.random() < 0.04:
            other = pick_intent(rng)
            if other not in SOCIAL + ("offtopic", "nonsense", intent):
                second, more = ask(rng, other, slots)
                question = f"{question} {second}" if question[-1] in ".?!" else f"{question}. {second}"
                answer = f"{answer} {voice.answer(rng, other, slots, more)}"
        question = later(rng, question) if turn else question if intent in SOCIAL else dressed(rng, question)
        messages += [{"role": "user", "content": roughen(rng, question, turn == 0)}, {"role": "assistant", "content": answer}]
    return messages


def fact_dialogue(rng: random.Random) -> list[dict]:
    """A dialogue under a system message with facts; some questions ask for facts that it leaves out."""
    shop = random_shop(rng)
    lines = fact_lines(shop, rng)
    known = set(rng.sample(list(lines), rng.choice([1, 2, 2, 3, 3, 4, 5, 6, 8])))
    order = list(known)
    rng.shuffle(order)
    opening = rng.choice(["You are the assistant of {}.", "You help the customers of {}.", "You work for {}.", "You are the customer support of {}. Answer from these facts.", "Shop: {}.", "You answer questions for {}."]).format(shop["name"])
    body = rng.choice([" ", " ", "\n", "\n- "]).join([opening] + [lines[k] for k in order])
    messages = [{"role": "system", "content": body}]
    askable = sorted(known) + [i for i, need in NEEDS.items() if need in known] + list(FREE)
    unknown = sorted(set(lines) - known - {"hours"}) + UNTOLD
    for turn in range(rng.choices([1, 2, 3], [45, 35, 20])[0]):
        general = rng.random() < 0.06
        intent = rng.choice(["thanks", "offtopic", "able", "nonsense"]) if general else rng.choice(unknown) if unknown and rng.random() < 0.13 else rng.choice(askable)
        own = intent in ("price", "stock", "recommend") and rng.random() < 0.8
        slots = new_slots(rng, rng.choice(list(shop["items"])) if own else product(rng, shop["kind"]))
        if shop["abroad"] and rng.random() < 0.5:
            slots["country"] = rng.choice(shop["abroad"])
        question, used = ask(rng, intent, slots)
        slots["used_country"] = "yes" if "country" in used else ""
        if general:
            answer = general_answer(rng, ANSWERS, intent, slots, used)
        elif intent in FREE or NEEDS.get(intent, intent) in known:
            if intent in ("price", "stock") and "p" not in used:
                intent = "sell"
            answer = fact_answer(rng, shop, intent, slots)
        else:
            answer = missing(rng, shop, known)
        question = later(rng, question) if turn else dressed(rng, question)
        messages += [{"role": "user", "content": roughen(rng, question, turn == 0)}, {"role": "assistant", "content": answer}]
    return messages


def alpaca_example(rng: random.Random) -> tuple[str, str]:
    """A prompt in the Alpaca form, or a plain question and answer form, and its answer."""
    messages = general_dialogue(rng, turns=1)
    question, answer = messages[0]["content"], messages[1]["content"]
    if rng.random() < 0.15:
        return ALPACA_INPUT.format(rng.choice(["Answer the customer's question.", "Reply to the customer.", "Help this customer."]), question), answer
    if rng.random() < 0.25:
        return rng.choice(["Customer: {}\nShop:", "Q: {}\nA:", "Question: {}\nAnswer:"]).format(question), " " + answer
    return ALPACA.format(question), answer


def dialogue(rng: random.Random):
    """One training example: a list of messages, or a (prompt, answer) pair of plain text."""
    kind = rng.random()
    if kind < 0.06:
        return alpaca_example(rng)
    if kind < 0.30:
        return fact_dialogue(rng)
    messages = general_dialogue(rng)
    if rng.random() < 0.15:
        messages.insert(0, {"role": "system", "content": rng.choice(PLAIN_SYSTEMS)})
    return messages
