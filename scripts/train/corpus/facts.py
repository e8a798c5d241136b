"""Random shops and what an assistant says when a system message tells it about one of them.

Knows nothing of dialogues. Invariant: an answer uses only facts that the system message holds; for the others it says so.
"""
import random

STEMS = "mar bel tol vir an gro fen lum har ost wil cor dal pen rud sil tam ver bra kel nor thu win ash ely ivo ora umb zan que jas fol hob".split()
ENDS = "ley ton ra well by field ford a o ia wick more den na son stead er in el us is ow ine".split()
FIRST = "Anna Ben Clara David Emma Felix Grace Hugo Iris Jack Kate Leo Mia Noah Olive Paul Quinn Rosa Sam Tess Uma Victor Wendy Xander Yara Zoe Alice Bruno Carmen Diego Elena Frank Gina Henry Ida James Karen Liam Maria Nina Oscar Petra Ravi Sofia Tom Ursula Vera Will Amir Lena Chen Priya Fatima Jonas Marta Pedro Ali Sara Tim Eva Max Julia Peter Laura Omar Ingrid Kofi Mei Yusuf Nora Adam Hannah Simon".split()
KINDS = {
    "Books": "novel cookbook atlas notebook bookmark diary",
    "Shoes": "boot sandal sneaker slipper trainer loafer",
    "Bakery": "loaf bagel croissant muffin tart baguette cake",
    "Bikes": "helmet bicycle saddle pump lock basket bell tyre",
    "Toys": "puzzle doll kite robot game teddy train",
    "Flowers": "bouquet orchid vase wreath rose plant fern",
    "Garden": "spade rake planter hose lantern pot",
    "Kitchen": "pan kettle knife teapot bowl grater jug whisk",
    "Clothes": "coat shirt scarf sweater dress hat jacket belt",
    "Outdoor": "tent backpack rope compass torch flask map stove",
    "Music": "guitar drum violin flute record ukulele",
    "Jewellery": "ring necklace bracelet watch brooch locket",
    "Home": "lamp rug cushion mirror chair table clock blanket candle",
    "Tea": "teapot mug infuser strainer tin cup",
    "Art": "easel brush canvas sketchbook frame print",
    "Pets": "leash cage bed collar brush toy",
    "Sport": "racket ball skateboard glove mat bat",
    "Tech": "phone laptop keyboard headset charger camera speaker",
}
OTHER = "umbrella bag wallet hat sock shoe glass bottle plate spoon fork pillow towel curtain mattress bed sofa desk shelf bookcase vacuum toaster oven fridge heater fan printer monitor tablet cable battery radio television drone tripod lens puppet swing slide scooter ball bike skirt blouse suit tie pullover hoodie jumper cardigan pyjama swimsuit raincoat umbrella suitcase purse soap shampoo perfume lipstick cream candle match magnet poster postcard pen pencil pencil marker folder stapler calendar magazine comic map globe telescope microscope drill hammer saw screwdriver ladder paint bucket hose mower seed bulb cactus tree herb sausage cheese wine beer juice coffee biscuit chocolate sandwich pizza pie cupcake pretzel jam honey salad soup tomato apple banana fish steak sword shield crown mask costume wig balloon card stamp coin medal trophy whistle trumpet flute piano harp banjo keyboard amplifier microphone".split()
COLOURS = "red blue green small large wooden classic silver oak wool cotton copper white black leather travel winter summer little".split()
STREETS = "Mill Church Market Station Park King Queen Bridge Lake Rose High Green School Castle Harbour Elm Hill River Garden Orchard".split()
COUNTRIES = "Canada Germany France Japan Brazil Spain Italy Norway Sweden Poland Ireland Australia India Mexico Portugal Austria Greece Finland Denmark Belgium Kenya Chile Egypt Turkey China".split() + ["the USA", "New Zealand", "South Africa", "the Netherlands", "Switzerland", "Europe", "Peru", "Iceland", "Hungary", "Croatia", "Romania", "Ukraine", "Israel", "Korea", "Vietnam", "Thailand", "Singapore", "Morocco", "Nigeria", "Argentina", "Colombia", "Cuba", "Scotland", "Wales", "England", "Russia", "Malta", "Cyprus", "Estonia", "Latvia"]
HOLIDAYS = ["Christmas", "Easter", "New Year's Day", "Christmas Eve", "Boxing Day", "Thanksgiving", "New Year"]
WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PLURALS = {"loaf": "loaves", "knife": "knives", "brush": "brushes", "leash": "leashes", "bus": "buses", "compass": "compasses", "torch": "torches", "dress": "dresses", "watch": "watches", "print": "prints"}


def plural(thing: str) -> str:
    """`wooden box` -> `wooden boxes`."""
    head, _, last = thing.rpartition(" ")
    last = PLURALS.get(last, last + "s")
    return f"{head} {last}".strip()


def coined(rng: random.Random) -> str:
    """A made-up proper name, so that names must be copied rather than remembered."""
    return (rng.choice(STEMS) + rng.choice(["", "", rng.choice(STEMS)]) + rng.choice(ENDS)).capitalize()


def product(rng: random.Random, kind: str) -> str:
    """A product of a kind of shop or, now and then, any other thing, sometimes with an adjective."""
    thing = rng.choice(KINDS[kind].split()) if rng.random() < 0.75 else rng.choice(OTHER) if rng.random() < 0.7 else coined(rng).lower()
    return f"{rng.choice(COLOURS)} {thing}" if rng.random() < 0.4 else thing


def clock(rng: random.Random, low: int, high: int) -> str:
    hour = rng.randint(low, high)
    half = rng.random() < 0.3
    return f"{(hour - 1) % 12 + 1}{':30' if half else ''} {'am' if hour < 12 else 'pm'}"


def random_shop(rng: random.Random) -> dict:
    """A shop: name, hours per day (None = closed), and single facts as finished sentences under the intent's name."""
    kind = rng.choice(list(KINDS))
    a, b = coined(rng), coined(rng)
    name = rng.choice([f"{a} {kind}", f"{a} & {b}", f"The {rng.choice(COLOURS).capitalize()} {rng.choice(KINDS[kind].split()).capitalize()}", f"{a}'s {kind}", f"{rng.choice(FIRST)}'s {kind}", f"{a}"])
    week, saturday = f"{clock(rng, 7, 11)} to {clock(rng, 16, 20)}", f"{clock(rng, 8, 11)} to {clock(rng, 12, 18)}"
    sunday = f"{clock(rng, 9, 12)} to {clock(rng, 13, 17)}"
    closed = set(rng.choice([[6], [6], [6], [6, 0], [0], [1], [], [5, 6], [2], [6, 2]]))
    days = {d: None if i in closed else (week if i < 5 else saturday if i == 5 else sunday) for i, d in enumerate(WEEK)}
    items, money = {}, rng.choice(["$", "£", "€"])
    while len(items) < rng.randint(2, 4):
        cents = rng.choice(["", "", "", ".50", ".90", ".99", ".20"])
        items.setdefault(product(rng, kind), f"{money}{rng.randint(2, 240 if not cents else 60)}{cents}" if money != "€" else f"{rng.randint(2, 240)} euros")
    local = "".join(c for c in a.lower() if c.isalpha())
    n = rng.choice([7, 10, 14, 14, 21, 28, 30, 30, 45, 60, 90])
    lo = rng.randint(1, 6)
    fee, free = f"{money}{rng.randint(2, 12)}", f"{money}{rng.choice([20, 25, 30, 35, 40, 50, 60, 75, 80, 100, 120])}"
    countries = rng.sample(COUNTRIES, 2)
    if rng.random() < 0.25:
        free = None
    return {
        "name": name, "kind": kind, "days": days, "closed": [d for d in WEEK if days[d] is None], "week": week, "saturday": saturday, "sunday": sunday, "items": items,
        "returns": n, "refund": rng.randint(2, 14), "ship_lo": lo, "ship_hi": lo + rng.randint(1, 5), "fee": fee, "free": free,
        "abroad": rng.choice([None, countries, countries]), "email": f"{rng.choice(['hello', 'shop', 'info', 'help', 'mail', rng.choice(FIRST).lower()])}@{local}.{rng.choice(['com', 'shop', 'net', 'store', 'org'])}",
        "phone": f"{rng.randint(100, 999)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}" if rng.random() < 0.7 else f"555-{rng.randint(1000, 9999)}",
        "phone_known": rng.random() < 0.7,
        "address": f"{rng.randint(1, 199)} {rng.choice(STREETS + [coined(rng)] * 8)} {rng.choice(['Street', 'Road', 'Lane', 'Avenue', 'Square'])}",
        "warranty": rng.choice(["one year", "two years", "three years", "five years", "six months", "18 months", "ten years"]),
        "payment": rng.choice(["cash and all major cards", "cards only", "cash only", "cash, cards and PayPal", "cards and Apple Pay", "cash, cards and bank transfer", "cards and gift cards", "PayPal and cards"]),
        "gift_card": f"{money}{rng.choice([5, 10, 15, 20, 25])} to {money}{rng.choice([50, 100, 150, 200, 250, 300])}",
        "discount": rng.choice([5, 10, 12, 15, 20, 25]), "discount_for": rng.choice(["students", "new customers", "newsletter readers", "seniors", "teachers", "regular customers"]),
        "parking": rng.choice(["free parking behind the shop", "a car park across the street", "street parking in front of the shop", "no parking at the shop, but a garage two minutes away", "parking at the station nearby"]),
        "wrap": rng.choice(["free", f"{money}{rng.randint(1, 6)} per item"]),
        "repair": rng.choice([f"from {money}{rng.randint(10, 60)}", f"within {rng.randint(2, 10)} days"]),
        "loyalty": rng.choice([f"every {rng.choice(['fifth', 'sixth', 'eighth', 'tenth'])} item is half price", f"one point per {money}1, and {rng.choice([50, 80, 100, 200])} points give {money}5 off"]),
        "owner": rng.choice(FIRST + [coined(rng)] * 20),
    }


def hours_line(shop: dict, rng: random.Random) -> str:
    """The opening hours as one phrase, without a full stop."""
    closed = set(shop["closed"])
    work = [d for d in WEEK[:5] if d not in closed]
    if len(work) == 5:
        span = rng.choice(["Monday to Friday", "Monday to Friday", "Monday-Friday"])
    elif "Monday" in closed:
        span = "Tuesday to Friday"
    else:
        span = ", ".join(work[:-1]) + " and " + work[-1]
    link = rng.choice(["", "", "", "from "])
    parts = [f"{span} {link}{shop['week']}"]
    for d, key in (("Saturday", "saturday"), ("Sunday", "sunday")):
        if d not in closed:
            parts.append(f"{d} {link}{shop[key]}")
    if closed:
        parts.append("closed on " + " and ".join(shop["closed"]))
    return ", ".join(parts)


def fact_lines(shop: dict, rng: random.Random) -> dict[str, str]:
    """Fact name -> the sentence a shop owner would write about it in a system message."""
    c = rng.choice
    lo, hi = shop["ship_lo"], shop["ship_hi"]
    abroad = f"We ship to {shop['abroad'][0]} and {shop['abroad'][1]}." if shop["abroad"] else c(["We do not ship abroad.", "No shipping abroad."])
    return {
        "hours": c(["Opening hours: {}.", "We are open {}.", "Open {}.", "The shop is open {}.", "Hours: {}."]).format(hours_line(shop, rng)),
        "returns": c(["Returns: within {} days with receipt.", "Return policy: {} days, unused, with receipt.", "Items can be returned within {} days.", "You can return things within {} days.", "Returns are accepted for {} days.", "You can return {1} within {0} days."]).format(shop["returns"], plural(list(shop["items"])[0])),
        "refund": c(["Refunds are paid within {} days.", "Refunds take {} days."]).format(shop["refund"]),
        "ship_time": c(["Delivery takes {} to {} days.", "Shipping: {} to {} working days.", "Orders arrive in {}-{} days."]).format(lo, hi),
        "ship_cost": c(["Shipping costs {}.", "Delivery is {}.", "Shipping: {}."]).format(shop["fee"]) if not shop["free"] else c(["Shipping costs {}, free from {}.", "Delivery is {}, and free for orders over {}.", "Shipping {}, free over {}."]).format(shop["fee"], shop["free"]),
        "ship_abroad": abroad,
        "contact": c(["Email: {}.", "Contact: {}.", "Write to {}."]).format(shop["email"]) if not shop["phone_known"] else c(["Email: {}. Phone: {}.", "Contact: {} or {}.", "Write to {} or call {}."]).format(shop["email"], shop["phone"]),
        "location": c(["Address: {}.", "The shop is at {}.", "You find us at {}."]).format(shop["address"]),
        "price": " ".join(f"The {p} costs {v}." for p, v in shop["items"].items()) if rng.random() < 0.3 else c(["Prices: {}.", "Products: {}.", "We sell: {}."]).format(", ".join(f"{p} {v}" for p, v in shop["items"].items())),
        "warranty": c(["Warranty: {}.", "All products have a warranty of {}."]).format(shop["warranty"]),
        "payment": c(["Payment: {}.", "We accept {}."]).format(shop["payment"]),
        "gift_card": c(["Gift cards: {}.", "We sell gift cards from {}."]).format(shop["gift_card"]),
        "discount": c(["Discount: {}% for {}.", "There is a {}% discount for {}."]).format(shop["discount"], shop["discount_for"]),
        "parking": c(["Parking: {}.", "There is {}."]).format(shop["parking"]),
        "wrap": c(["Gift wrapping: {}.", "Gift wrapping is {}."]).format(shop["wrap"]),
        "repair": c(["Repairs: {}.", "We do repairs {}."]).format(shop["repair"]),
        "loyalty": c(["Loyalty card: {}.", "With our loyalty card, {}."]).format(shop["loyalty"]),
        "owner": c(["The owner is {}.", "Owner: {}."]).format(shop["owner"]),
    }


def reach(shop: dict) -> str:
    """How to reach the shop, as far as the system message says."""
    return f"write to {shop['email']} or call {shop['phone']}" if shop["phone_known"] else f"write to {shop['email']}"


def missing(rng: random.Random, shop: dict, known: set[str]) -> str:
    """What to say when the system message does not hold the fact."""
    if "contact" in known:
        return rng.choice([f"I'm sorry, I don't have that information. Please {reach(shop)}.", f"I don't know that, I'm afraid. You can ask the shop at {shop['email']}."])
    return rng.choice([f"I'm sorry, I don't have that information. Please ask the staff at {shop['name']}.", "I don't know that, I'm afraid. Please ask the shop directly."])


def fact_answer(rng: random.Random, shop: dict, intent: str, slots: dict) -> str:
    """The answer to `intent` from the shop's facts; the caller makes sure that the fact is in the system message."""
    c, s = rng.choice, shop
    if intent == "hours":
        return c(["We are open {}.", "Our opening hours are {}.", "{1} is open {0}."]).format(hours_line(s, random.Random(0)), s["name"])
    if intent == "hours_day":
        day = slots["day"]
        time = s["days"].get(day)
        if time:
            return c([f"Yes, on {day} we are open from {time}.", f"We are open from {time} on {day}."])
        return c([f"No, we are closed on {day}.", f"I'm sorry, we are closed on {day}."])
    if intent == "returns":
        return c([f"You can return items within {s['returns']} days. Please bring the receipt.", f"Our return policy is {s['returns']} days, with the receipt.", f"Yes, you have {s['returns']} days to return an unused item."])
    if intent == "refund":
        return c([f"Refunds are paid within {s['refund']} days.", f"You will have your money back within {s['refund']} days."])
    if intent == "ship_time":
        return c([f"Delivery takes {s['ship_lo']} to {s['ship_hi']} days.", f"Your order will arrive in {s['ship_lo']} to {s['ship_hi']} days."])
    if intent == "ship_cost" and not s["free"]:
        return c([f"Shipping costs {s['fee']}.", f"Delivery is {s['fee']}."])
    if intent == "ship_cost":
        return c([f"Shipping costs {s['fee']}, and it is free for orders over {s['free']}.", f"Delivery is {s['fee']}. For orders over {s['free']} it is free."])
    if intent == "ship_abroad":
        if not s["abroad"]:
            return c(["I'm sorry, we do not ship abroad.", "No, we don't ship abroad, I'm afraid."])
        both = f"{s['abroad'][0]} and {s['abroad'][1]}"
        country = slots.get("country")
        if slots.get("used_country"):
            return f"Yes, we ship to {country}." if country in s["abroad"] else f"I'm sorry, we don't ship to {country}. We ship to {both}."
        return c([f"Yes, we ship to {both}.", f"We ship to {both}."])
    if intent == "contact":
        return c([f"You can {reach(s)}.", f"Please {reach(s)}."])
    if intent == "human":
        return c([f"Of course. Please {reach(s)}, and a person will help you.", f"Sure, you can {reach(s)} to reach our staff."])
    if intent == "complaint":
        return f"I'm very sorry about that. Please tell us what happened at {s['email']}, so that we can put it right."
    if intent in ("damaged", "wrong", "late"):
        return c([f"I'm sorry about that. Please write to {s['email']} with your order number, and we will put it right.", f"I'm very sorry. Please {reach(s)} and give your order number."])
    if intent == "location":
        return c([f"You will find us at {s['address']}.", f"Our address is {s['address']}.", f"The shop is at {s['address']}."])
    if intent == "price":
        item = slots["p"]
        if item in s["items"]:
            return c([f"The {item} costs {s['items'][item]}.", f"The {item} is {s['items'][item]}."])
        return c([f"I'm sorry, I don't have a price for the {item}.", f"I don't see the {item} in our list, I'm afraid."])
    if intent == "stock":
        item = slots["p"]
        if item in s["items"]:
            return c([f"Yes, we have the {item} for {s['items'][item]}.", f"Yes, we sell the {item}. It costs {s['items'][item]}."])
        return c([f"I'm sorry, we don't sell the {item}.", f"I don't see the {item} in our list, I'm afraid."])
    if intent in ("sell", "recommend"):
        names = list(s["items"])
        if intent == "recommend":
            return c([f"I would recommend the {names[0]}. It costs {s['items'][names[0]]}.", f"How about the {names[-1]}? It costs {s['items'][names[-1]]}."])
        return c(["We sell {}.", "At {1} you will find {0}."]).format(", ".join(plural(n) for n in names[:-1]) + " and " + plural(names[-1]), s["name"])
    if intent == "warranty":
        return c([f"Yes, all our products have a warranty of {s['warranty']}.", f"The warranty is {s['warranty']}."])
    if intent == "payment":
        return c([f"We accept {s['payment']}.", f"You can pay with {s['payment']}."])
    if intent == "gift_card":
        return c([f"Yes, we sell gift cards from {s['gift_card']}.", f"Gift cards are available from {s['gift_card']}."])
    if intent == "discount":
        return c([f"Yes, there is a {s['discount']}% discount for {s['discount_for']}.", f"We give {s['discount']}% off for {s['discount_for']}."])
    if intent == "parking":
        return c([f"There is {s['parking']}.", f"Yes, there is {s['parking']}." if not s["parking"].startswith("no") else f"There is {s['parking']}."])
    if intent == "wrap":
        return c([f"Yes, we gift wrap. It is {s['wrap']}.", f"Gift wrapping is {s['wrap']}."])
    if intent == "repair":
        return c([f"Yes, we do repairs {s['repair']}.", f"We repair things {s['repair']}."])
    if intent == "loyalty":
        return c([f"Yes, we have a loyalty card: {s['loyalty']}.", f"With our loyalty card, {s['loyalty']}."])
    if intent == "who":
        return c([f"I'm the virtual assistant of {s['name']}. How can I help you?", f"I'm the assistant of {s['name']}, a computer program. I can answer questions about the shop."])
    if intent == "greet":
        return c([f"Hello and welcome to {s['name']}! How can I help you?", f"Hi, this is {s['name']}. What can I do for you?"])
    if intent == "how":
        return c(["I'm doing well, thank you! What can I do for you?", f"Very well, thank you! How can {s['name']} help you?"])
    if intent == "bye":
        return c([f"Goodbye, and thank you for visiting {s['name']}!", f"Goodbye! We hope to see you soon at {s['name']}."])
    if intent == "owner":
        return c([f"The owner is {s['owner']}.", f"{s['owner']} owns {s['name']}."])
    raise KeyError(intent)


NEEDS = {"hours_day": "hours", "human": "contact", "complaint": "contact", "damaged": "contact", "wrong": "contact", "late": "contact", "stock": "price", "sell": "price", "recommend": "price"}
FREE = ("who", "greet", "how", "bye")
OWNER_QUESTIONS = ["who [is the owner|owns the shop|owns this place|runs the shop|is the boss]?", "what is the [owner's name|name of the owner]?", "who does the shop belong to?"]
