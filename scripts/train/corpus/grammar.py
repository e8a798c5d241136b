"""A tiny text grammar: `[a|b|]` picks one option (they nest), `{name}` is filled from a dictionary.

Also reads files of `# section` headers followed by one template a line, and roughens text the way customers type it.
Invariant: all randomness comes from the `random.Random` passed in, so a seed gives one corpus.
"""
import re
from pathlib import Path

INNERMOST = re.compile(r"\[([^\[\]]*)\]")
KEYS = "qwertyuiop asdfghjkl zxcvbnm"


def read_sections(path: Path) -> dict[str, list[str]]:
    """Section name -> its templates, one a line, of a file with `# name` headers. Lines starting with `;` are comments."""
    sections, current = {}, None
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("# "):
            current = sections.setdefault(line[2:].strip(), [])
        elif line and not line.startswith(";"):
            current.append(line)
    return sections


def expand(rng, template: str, slots: dict[str, str]) -> str:
    """One random reading of `template`. Raises KeyError for a slot that is not in `slots`."""
    while match := INNERMOST.search(template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    text = re.sub(r"\{(\w+)\}", lambda m: slots[m[1]], template)
    text = re.sub(r" '(d|m|s|ve|re|ll)\b", r"'\1", text)
    text = re.sub(r"\s+([,.?!;:])", r"\1", re.sub(r" +", " ", text)).strip()
    return capitalise(re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text))


def capitalise(text: str) -> str:
    """The text with a capital at its start and after the end of each sentence."""
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)


def typo(rng, text: str) -> str:
    """The text with one letter swapped, dropped, doubled or mistyped."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i, kind = rng.choice(places), rng.randrange(4)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    if kind == 2:
        return text[:i] + text[i] + text[i:]
    near = KEYS[(KEYS.find(text[i].lower()) + rng.choice([-1, 1])) % len(KEYS)]
    return text[:i] + (near if near != " " else text[i]) + text[i + 1 :]


def roughen(rng, text: str, first: bool = True) -> str:
    """A customer's typing: sometimes a greeting or thanks around it, lower case, no punctuation, a typo or two."""
    if first and rng.random() < 0.16:
        hello = rng.choice(["Hi", "Hello", "Hey", "Hi there", "Good morning", "Hello there", "Excuse me", "Sorry", "Quick question"])
        mark = rng.choice([", ", "! ", ". ", ", "])
        text = f"{hello}{mark}{text if mark != ', ' or re.match(r'I.?[a-z]* ', text) else text[0].lower() + text[1:]}"
    if rng.random() < 0.10:
        text += rng.choice([" Thanks!", " Thank you!", " Thanks.", " thanks", " Please help.", " Thx", " Cheers!", " Thanks in advance."])
    if rng.random() < 0.28:
        text = text.lower()
    if rng.random() < 0.22:
        text = re.sub(r"[,.?!']", "", text) if rng.random() < 0.5 else text.rstrip(".?!")
    while rng.random() < 0.12:
        text = typo(rng, text)
    if rng.random() < 0.02:
        text += rng.choice(["??", "!!", "...", " :)", "?!"])
    return text
