"""An invented shop as a SQLite file, for a first question where one has no database at hand."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from common.settings import writable

_TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, since TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT, category TEXT, price REAL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), day TEXT);
CREATE TABLE order_lines (
  order_id INTEGER REFERENCES orders(id), product_id INTEGER REFERENCES products(id), pieces INTEGER
);
"""
_NAMES = ("Ada", "Bruno", "Chloe", "Dario", "Elena", "Farid", "Greta", "Hugo")
_CITIES = ("Lyon", "Porto", "Graz", "Lyon")
_PRODUCTS = (
    ("desk lamp", "light", 39.5),
    ("floor lamp", "light", 89.0),
    ("mug", "kitchen", 8.5),
    ("teapot", "kitchen", 24.0),
)
_PRODUCTS += (("notebook", "paper", 4.2), ("calendar", "paper", 12.0))
ORDERS = 40


def write_shop(folder: Path) -> Path:
    """The file `shop.sqlite` in `folder`: the same rows every time."""
    path = writable(folder) / "shop.sqlite"
    path.unlink(missing_ok=True)
    draws = random.Random(7)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_TABLES)
        for number, name in enumerate(_NAMES):
            row = (number + 1, name, _CITIES[number % len(_CITIES)], f"20{18 + number % 5}-0{1 + number}-15")
            connection.execute("INSERT INTO customers VALUES (?, ?, ?, ?)", row)
        for number, product in enumerate(_PRODUCTS):
            connection.execute("INSERT INTO products VALUES (?, ?, ?, ?)", (number + 1, *product))
        for number in range(1, ORDERS + 1):
            # The last customer orders nothing, so that some questions have an answer that is easy to miss.
            customer = draws.randrange(1, len(_NAMES))
            day = f"2024-{draws.randrange(1, 13):02}-{draws.randrange(1, 29):02}"
            connection.execute("INSERT INTO orders VALUES (?, ?, ?)", (number, customer, day))
            for product in draws.sample(range(1, len(_PRODUCTS) + 1), draws.randrange(1, 4)):
                line = (number, product, draws.randrange(1, 6))
                connection.execute("INSERT INTO order_lines VALUES (?, ?, ?)", line)
        connection.commit()
    return path
