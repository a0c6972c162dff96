"""Three hundred and twelve multiple-choice questions whose right answers are plain facts, made from lists and a seed.

Capitals, chemical symbols, continents, opposites and small sums; the wrong choices are right answers of other questions of the
same kind, so that no choice stands out. Positions of right answers are spread evenly. None refers to the order of its choices.
"""

from collections.abc import Iterable

import numpy as np

from routellm_core.robustness.items import Item

CAPITALS = """
France Paris, Germany Berlin, Italy Rome, Spain Madrid, Portugal Lisbon, Austria Vienna, Poland Warsaw, Hungary Budapest,
Greece Athens, Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Ireland Dublin, Belgium Brussels,
Russia Moscow, Ukraine Kyiv, Romania Bucharest, Bulgaria Sofia, Serbia Belgrade, Croatia Zagreb, Turkey Ankara, Egypt Cairo,
Morocco Rabat, Tunisia Tunis, Kenya Nairobi, Ethiopia Addis_Ababa, Ghana Accra, Senegal Dakar, Nigeria Abuja, Japan Tokyo,
China Beijing, India New_Delhi, Thailand Bangkok, Vietnam Hanoi, Indonesia Jakarta, Iran Tehran, Iraq Baghdad, Syria Damascus,
Jordan Amman, Lebanon Beirut, Nepal Kathmandu, Pakistan Islamabad, Afghanistan Kabul, Mongolia Ulaanbaatar, Canada Ottawa,
Cuba Havana, Peru Lima, Chile Santiago, Argentina Buenos_Aires, Uruguay Montevideo, Ecuador Quito, Colombia Bogota,
Venezuela Caracas, Australia Canberra, New_Zealand Wellington, Iceland Reykjavik, Cyprus Nicosia, Malta Valletta,
Latvia Riga, Lithuania Vilnius, Estonia Tallinn, Slovenia Ljubljana, Zambia Lusaka, Uganda Kampala, Angola Luanda
"""
ELEMENTS = """
hydrogen H, helium He, lithium Li, carbon C, nitrogen N, oxygen O, fluorine F, neon Ne, sodium Na, magnesium Mg, aluminium Al,
silicon Si, phosphorus P, sulfur S, chlorine Cl, argon Ar, potassium K, calcium Ca, titanium Ti, chromium Cr, manganese Mn,
iron Fe, cobalt Co, nickel Ni, copper Cu, zinc Zn, gallium Ga, arsenic As, bromine Br, krypton Kr, silver Ag, cadmium Cd, tin Sn,
antimony Sb, iodine I, xenon Xe, barium Ba, tungsten W, platinum Pt, gold Au, mercury Hg, lead Pb, bismuth Bi, radon Rn,
radium Ra, thorium Th, uranium U, plutonium Pu, boron B, beryllium Be
"""
CONTINENTS = {
    "Europe": "France Germany Poland Norway Portugal Austria Hungary Belgium Bulgaria Croatia Denmark Ireland Latvia Serbia",
    "Africa": "Kenya Ghana Morocco Nigeria Senegal Zambia Uganda Angola Tunisia Ethiopia Mali Chad Niger Botswana",
    "Asia": "Japan China India Thailand Vietnam Nepal Pakistan Mongolia Iraq Jordan Laos Cambodia Bhutan Bangladesh",
    "South America": "Peru Chile Argentina Uruguay Ecuador Colombia Venezuela Bolivia Paraguay Brazil Guyana Suriname",
}
OPPOSITES = """
hot cold, big small, fast slow, early late, light dark, rich poor, wet dry, full empty, hard soft, loud quiet, old young,
high low, strong weak, happy sad, open closed, near far, clean dirty, thick thin, wide narrow, true false, first last,
before after, always never, love hate, war peace, win lose, buy sell, day night, push pull, begin end, up down, left right,
inside outside, friend enemy, success failure, sharp blunt, sweet bitter, deep shallow, rough smooth, brave cowardly,
ancient modern, arrive depart, accept refuse, increase decrease, expand contract, victory defeat, public private,
guilty innocent, generous selfish, cheap expensive
"""


def questions(*, seed: int = 0) -> list[Item]:
    """Return the questions in a random order; the groups are their kinds."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[tuple[str, str, list[str]]]] = {
        "capitals": _of_pairs("What is the capital of {}?", CAPITALS, rng),
        "elements": _of_pairs("What is the chemical symbol of {}?", ELEMENTS, rng),
        "continents": [
            (f"On which continent is {country}?", continent, [other for other in CONTINENTS if other != continent])
            for continent, countries in CONTINENTS.items()
            for country in countries.split()
        ],
        "opposites": _of_pairs("Which word is the opposite of “{}”?", OPPOSITES, rng),
        "sums": list(_sums(rng)),
    }
    made = []
    for kind, asked in kinds.items():
        places = rng.permutation(np.arange(len(asked)) % 4)
        for i, (question, right, wrong) in enumerate(asked):
            choices = [wrong[j] for j in rng.permutation(3)]
            choices.insert(int(places[i]), right)
            made.append(Item(f"{kind}-{i}", question, tuple(choices), int(places[i]), group=kind))
    return [made[i] for i in rng.permutation(len(made))]


def _of_pairs(question: str, text: str, rng: np.random.Generator) -> list[tuple[str, str, list[str]]]:
    pairs = [pair.replace("\n", " ").split() for pair in text.split(",")]
    named = [(asked.replace("_", " "), answer.replace("_", " ")) for asked, answer in pairs]
    answers = [answer for _, answer in named]
    found = []
    for i, (asked, answer) in enumerate(named):
        others = [one for j, one in enumerate(answers) if j != i]
        found.append((question.format(asked), answer, [others[j] for j in rng.permutation(len(others))[:3]]))
    return found


def _sums(rng: np.random.Generator) -> Iterable[tuple[str, str, list[str]]]:
    pairs = [(a, b) for a in range(2, 40) for b in range(a, 40)]
    for index in rng.permutation(len(pairs))[: 312 - 66 - 50 - 54 - 50]:
        a, b = pairs[index]
        shifts = [shift for shift in (-10, -2, -1, 1, 2, 10) if a + b + shift > 0]
        wrong = [str(a + b + shifts[j]) for j in rng.permutation(len(shifts))[:3]]
        yield f"What is {a} + {b}?", str(a + b), wrong
