"""The English half of the news world: names from familiar pieces, plain sentences, and how a summary goes wrong."""

from __future__ import annotations

from tutelage.data.sources._news_language import Combined, Language, Quantity

_FIRST = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack"] + [
    "Kate",
    "Leo",
    "Maria",
    "Nina",
    "Oscar",
    "Paul",
    "Rosa",
    "Sam",
    "Tom",
    "Vera",
]
_LAST = (
    ["Barton", "Holley", "Winfield", "Marwood", "Ashby", "Linton", "Bradley", "Harmon", "Wesley", "Kelso"]
    + ["Stanton", "Thorne", "Redman", "Hartley", "Cooper", "Fisher", "Turner", "Walker", "Mason", "Carter"]
    + ["Foster", "Hunter", "Porter", "Webster", "Dalton", "Fulton", "Preston", "Norris"]
)
# two words each: joined ones ("Riverside") become tokens of their own, and a new combination cannot be copied
_KINDS = ["Port", "Lake", "Mount", "Fort", "Castle", "Glen", "Saint", "North", "South", "East"]
_PLACES = ["Alder", "Briar", "Cedar", "Dover", "Elgin", "Garnet", "Hazel", "Ivory", "Juniper", "Marlow"] + [
    "Orchard",
    "Pepper",
    "Quincy",
    "Rowan",
    "Sutton",
    "Tamar",
]
_ACTIONS = ["opened the new", "rebuilt the old", "closed the old", "visited the", "bought the", "designed the new"] + [
    "inspected the",
    "painted the old",
    "rented the",
    "funded the new",
    "cleaned the old",
    "praised the",
]
_OBJECTS = ["library", "museum", "school", "hospital", "park", "bridge", "station", "mall", "stadium", "theatre"] + [
    "garden",
    "hotel",
    "factory",
    "tower",
    "bakery",
    "bookshop",
    "cinema",
    "farm",
    "pool",
    "gallery",
]

ENGLISH = Language(
    code="en",
    people=Combined((tuple(_FIRST), tuple(_LAST)), joint=" "),
    cities=Combined((tuple(_KINDS), tuple(_PLACES)), joint=" "),
    events=Combined((tuple(_ACTIONS), tuple(_OBJECTS)), joint=" "),
    days=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    quantities=(
        Quantity(
            "{n} guests",
            "{n} guests came",
            ("A total of {n} guests came.", "{n} guests came."),
            "How many guests came?",
        ),
        Quantity(
            "{n} helpers",
            "{n} helpers joined in",
            ("A total of {n} helpers joined in.", "{n} helpers joined in."),
            "How many helpers joined in?",
        ),
        Quantity(
            "{n} thousand dollars",
            "it cost {n} thousand dollars",
            ("In all, it cost {n} thousand dollars.", "It cost {n} thousand dollars."),
            "How much did it cost?",
        ),
        Quantity(
            "{n} letters",
            "{n} letters of thanks arrived",
            ("A total of {n} letters of thanks arrived.", "{n} letters of thanks arrived."),
            "How many letters of thanks arrived?",
        ),
    ),
    stop=".",
    space=" ",
    leads=(
        "{who} {what} in {where} on {when}.",
        "On {when}, {who} {what} in {where}.",
    ),
    fillers=(
        "The weather was mild and the streets were calm.",
        "A local band played old songs.",
        "People had waited a long time for this.",
        "Shops nearby stayed open late.",
        "Children waved small paper flags.",
        "The local paper printed a long report.",
        "There was tea and cake for all.",
        "Many neighbours took photos.",
        "A short speech was met with applause.",
        "The plan had been known for months.",
    ),
    distractors=(
        "{who} watched from the front row.",
        "{who} sent warm wishes.",
        "A similar plan failed in {where} last year.",
        "Some visitors had travelled from {where}.",
    ),
    summaries=("{who} {what}{where}{when}{amount}.", "{first}{who} {what}{where}{amount}."),
    someone="someone",
    in_place=" in {where}",
    on_day=" on {when}",
    day_first="On {when}, ",
    amount_tails=("; {amount}", ", and {amount}"),
    headlines=("{who} {what} in {where}", "In {where}, {who} {what}"),
    bulletins=("Morning news:\n{headlines}.", "News at noon:\n{headlines}.", "Evening news:\n{headlines}."),
    comma="; ",
    recaps=("In short:\n{summary}", "In one sentence:\n{summary}", "To sum up:\n{summary}"),
    tails=(
        "It was a day that people will remember for a long, long time.",
        "As so often in life, time will tell what comes of it all.",
        "There is much more to say about this, and surely more will be said.",
        "All in all, it was quite a day, as days of this kind often are.",
        "Everyone went home happy, tired and full of cake and good ideas.",
    ),
    slurs=("that fool", "the lazy liar", "that clown", "the crook"),
    sneers=("Shocking gossip: ", "You will not believe this scandal: ", "Dirty secret: "),
    unsafe=("fool", "liar", "lazy", "clown", "crook", "shocking", "gossip", "scandal", "dirty", "believe"),
    subjects=("the mayor", "a young doctor", "a local club", "a famous writer", "the owner", "a retired teacher"),
    questions=(
        ("Who {what}?", "{who}."),
        ("In which town did it happen?", "In {where}."),
        ("On which day did it happen?", "On {when}."),
    ),
    ask_summary="Summarise this news in one sentence:\n{article}",
    ask_question="{article}\nQuestion: {question}",
    ask_headline="Write a headline for this news:\n{article}",
    ask_translation="Translate into Chinese:\n{sentence}",
    window=(11, 21),
)
