"""Plausible names for a generated warehouse: people, and an assortment of goods with SKUs."""

from __future__ import annotations

from typing import Final

import numpy as np

PEOPLE: Final = (
    "Adèle", "Amira", "Anton", "Bakary", "Basile", "Camille", "Chiara", "Cléo", "Dario", "Diane",
    "Elif", "Elsa", "Emil", "Fatou", "Félix", "Gaspard", "Greta", "Hana", "Hugo", "Inès", "Ivan",
    "Jana", "Joël", "Karim", "Klara", "Léa", "Leon", "Lina", "Lucas", "Malik", "Manon", "Mateo",
    "Mila", "Nadia", "Noah", "Nora", "Olga", "Omar", "Paola", "Paul", "Quentin", "Rita", "Robin",
    "Salomé", "Samir", "Sofia", "Tariq", "Théo", "Ulla", "Victor", "Yara", "Yuki", "Zoé",
)  # fmt: skip

# What it is, and how it is packed.
_GOODS: Final = (
    ("Olive oil", ("500 ml", "750 ml", "5 l can")),
    ("Oat drink", ("1 l", "6 x 1 l")),
    ("Espresso beans", ("250 g", "1 kg")),
    ("Wheat flour", ("1 kg", "10 kg sack")),
    ("Basmati rice", ("500 g", "5 kg sack")),
    ("Chickpeas", ("400 g tin", "2.5 kg tin")),
    ("Tomato passata", ("700 ml", "12 x 700 ml")),
    ("Dark chocolate", ("100 g", "200 g")),
    ("Green tea", ("20 bags", "100 bags")),
    ("Sparkling water", ("1 l", "6 x 1.5 l")),
    ("Apple juice", ("1 l", "3 l box")),
    ("Honey", ("250 g", "500 g")),
    ("Sea salt", ("500 g", "1 kg")),
    ("Dishwasher tablets", ("40 pieces", "100 pieces")),
    ("Washing powder", ("1.3 kg", "4 kg")),
    ("Hand soap", ("300 ml", "1 l refill")),
    ("Kitchen towels", ("4 rolls", "16 rolls")),
    ("Bin liners", ("35 l", "120 l")),
    ("LED bulb E27", ("8 W", "13 W")),
    ("Batteries AA", ("4 pieces", "24 pieces")),
    ("Extension lead", ("1.5 m", "5 m")),
    ("Work gloves", ("size 8", "size 10")),
    ("Safety vest", ("M", "XL")),
    ("Cordless drill", ("12 V", "18 V")),
    ("Wood screws", ("4 x 40 mm", "5 x 60 mm")),
    ("Cable ties", ("200 mm", "370 mm")),
    ("Wall paint", ("2.5 l", "10 l")),
    ("Packing tape", ("50 m", "6 x 66 m")),
    ("Cardboard box", ("S", "L")),
    ("Stretch film", ("300 m", "500 m")),
    ("Notebook A5", ("ruled", "dotted")),
    ("Printer paper A4", ("500 sheets", "5 x 500 sheets")),
    ("Desk lamp", ("white", "black")),
    ("Trail shoes", ("size 38", "size 43")),
    ("Rain jacket", ("S", "L")),
    ("Yoga mat", ("4 mm", "6 mm")),
)
_BRANDS: Final = (
    "Alba", "Bréval", "Corvin", "Dune", "Estrel", "Fjord", "Garrigue", "Halden", "Isère", "Jura",
    "Kestrel", "Lumen", "Mistral", "Nordlys", "Ondine", "Pinède", "Rialto", "Sierra", "Tamar",
    "Vega",
)  # fmt: skip


def goods(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """An assortment of `count` articles: SKU and name, each SKU once."""
    names = [
        f"{brand} {what}, {pack}" for brand in _BRANDS for what, packs in _GOODS for pack in packs
    ]
    order = rng.permutation(len(names))
    # Six digits, not in a row: as the numbers of a warehouse that has grown.
    numbers = rng.permutation(900_000)[:count] + 100_000
    return [(str(numbers[i]), names[int(order[i % len(names)])]) for i in range(count)]
