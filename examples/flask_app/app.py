"""
Run a small vending-machine platform on Flask, observed by obskit.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

import obskit

DATABASE = os.environ.get("VENDING_DATABASE", f"{tempfile.gettempdir()}/vending-flask.db")
CARD_LIMIT_CENTS = 1000

app = Flask(__name__)
device = Blueprint("device", __name__, url_prefix="/devices/<int:device_id>")
reports = Blueprint("reports", __name__, url_prefix="/reports")

sales = obskit.counter("sales_total", "Products sold.", labels=["product"])
payments = obskit.histogram("payment_seconds", "Seconds that payments took.", labels=["method", "status"])


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        connection.row_factory = sqlite3.Row
        yield connection


def devices_by_status() -> dict[str, int]:
    with database() as db:
        return dict(db.execute("SELECT status, count(*) FROM devices GROUP BY status").fetchall())


obskit.gauge("devices", "Devices by status.", labels=["status"], query=devices_by_status, every=30)


@obskit.observe("take_from_stock")
def take_from_stock(db: sqlite3.Connection, device_id: int, product: str, quantity: int) -> int:
    rows = db.execute(
        "UPDATE stock SET quantity = quantity - :quantity WHERE device_id = :device_id AND product = :product"
        " AND quantity >= :quantity RETURNING price_cents * :quantity",
        {"device_id": device_id, "product": product, "quantity": quantity},
    ).fetchall()
    if not rows:
        abort(409, "out of stock")
    return rows[0][0]


@payments.time(method="card")  # the label `status` becomes success or error
def charge(cents: int) -> None:
    if cents > CARD_LIMIT_CENTS:
        abort(409, "the card's limit is exceeded")


@app.get("/devices")
def list_devices() -> list[dict[str, Any]]:
    with database() as db:
        return [dict(row) for row in db.execute("SELECT * FROM devices ORDER BY id")]


@device.get("")
def show_device(device_id: int) -> dict[str, Any]:
    with database() as db:
        found = db.execute("SELECT * FROM devices WHERE id = ?", [device_id]).fetchone()
        if found is None:
            abort(404, "no such device")
        stock = db.execute("SELECT product, quantity FROM stock WHERE device_id = ?", [device_id])
        return {**found, "stock": dict(stock.fetchall())}


@device.post("/sales")
def sell(device_id: int) -> tuple[dict[str, Any], int]:
    match request.get_json():
        case {"product": str(product), "quantity": int(quantity)} if 1 <= quantity <= 20:
            obskit.bind(product=product)  # a field of this request's log lines, never a label
        case _:
            abort(422, "expected a product, and a quantity from 1 to 20")
    with database() as db:
        cents = take_from_stock(db, device_id, product, quantity)
        charge(cents)
        db.execute("INSERT INTO sales (device_id, product, cents) VALUES (?, ?, ?)", [device_id, product, cents])
    sales.inc(quantity, product=product)
    return {"product": product, "cents": cents}, 201


@reports.get("/sales.csv")
def sales_csv() -> Response:
    def lines() -> Iterator[str]:
        yield "device,product,cents\n"
        with database() as db:
            for row in db.execute("SELECT device_id, product, cents FROM sales ORDER BY id"):
                yield "{},{},{}\n".format(*row)

    return Response(lines(), mimetype="text/csv")


@app.get("/boom")
def boom() -> None:
    raise RuntimeError("the coin slot is jammed")


@app.errorhandler(HTTPException)
def as_json(error: HTTPException) -> tuple[dict[str, Any], int | None]:
    return {"error": error.description}, error.code


app.register_blueprint(device)
app.register_blueprint(reports)
with database() as db:
    db.executescript(Path(__file__).with_name("schema.sql").read_text("utf-8"))

app = obskit.instrument(app, service="vending", namespace="vending", auto=True)
