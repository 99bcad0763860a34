"""
Run a small vending-machine platform on FastAPI, observed by obskit.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

import obskit

DATABASE = os.environ.get("VENDING_DATABASE", f"{tempfile.gettempdir()}/vending-fastapi.db")
CARD_LIMIT_CENTS = 1000
MODEL = "claude-sonnet-5-5"

app = FastAPI(title="Vending machines")
device = APIRouter(prefix="/devices/{device_id}")
reports = FastAPI(title="Reports")

sales = obskit.counter("sales_total", "Products sold.", labels=["product"])
payments = obskit.histogram("payment_seconds", "Seconds that payments took.", labels=["method", "status"])


class Sale(BaseModel):
    product: str
    quantity: int = Field(default=1, ge=1, le=20)


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    # A streamed reply is made in several threads of the pool, one after another.
    with closing(sqlite3.connect(DATABASE, check_same_thread=False)) as connection, connection:
        connection.row_factory = sqlite3.Row
        yield connection


def devices_by_status() -> dict[str, int]:
    with database() as db:
        return dict(db.execute("SELECT status, count(*) FROM devices GROUP BY status").fetchall())


obskit.gauge("devices", "Devices by status.", labels=["status"], query=devices_by_status, every=30)


@obskit.observe("take_from_stock")
def take_from_stock(db: sqlite3.Connection, device_id: int, sale: Sale) -> int:
    rows = db.execute(
        "UPDATE stock SET quantity = quantity - :quantity WHERE device_id = :device_id AND product = :product"
        " AND quantity >= :quantity RETURNING price_cents * :quantity",
        {"device_id": device_id, **sale.model_dump()},
    ).fetchall()
    if not rows:
        raise HTTPException(409, "out of stock")
    return rows[0][0]


@payments.time(method="card")  # the label `status` becomes success or error
def charge(cents: int) -> None:
    if cents > CARD_LIMIT_CENTS:
        raise HTTPException(409, "the card's limit is exceeded")


@app.get("/devices")
def list_devices() -> list[dict[str, Any]]:
    with database() as db:
        return [dict(row) for row in db.execute("SELECT * FROM devices ORDER BY id")]


@device.get("")
def show_device(device_id: int) -> dict[str, Any]:
    with database() as db:
        found = db.execute("SELECT * FROM devices WHERE id = ?", [device_id]).fetchone()
        if found is None:
            raise HTTPException(404, "no such device")
        stock = db.execute("SELECT product, quantity FROM stock WHERE device_id = ?", [device_id])
        return {**found, "stock": dict(stock.fetchall())}


@device.post("/sales", status_code=201)
def sell(device_id: int, sale: Sale) -> dict[str, Any]:
    obskit.bind(product=sale.product)  # a field of this request's log lines, never a label
    with database() as db:
        cents = take_from_stock(db, device_id, sale)
        charge(cents)
        db.execute("INSERT INTO sales (device_id, product, cents) VALUES (?, ?, ?)", [device_id, sale.product, cents])
    sales.inc(sale.quantity, product=sale.product)
    return {"product": sale.product, "cents": cents}


@cache
def claude() -> anthropic.Anthropic:
    return anthropic.Anthropic()  # its key from ANTHROPIC_API_KEY


@device.post("/advice")
def advise(device_id: int) -> dict[str, str]:
    with database() as db:
        stock = db.execute("SELECT product, quantity FROM stock WHERE device_id = ?", [device_id]).fetchall()
    if not stock:
        raise HTTPException(404, "no stock to speak of")
    prompt = "What should be refilled first?\n" + ", ".join(f"{row['product']} ({row['quantity']})" for row in stock)
    obskit.bind(feature="refill advice")  # what the report groups by, never a label
    with obskit.observe_ai(service="restocking"):
        message = claude().messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": prompt}])
    return {"advice": "".join(block.text for block in message.content if block.type == "text")}


@reports.get("/ai")
def ai() -> dict[str, Any]:
    return obskit.ai.report().to_dict()


@reports.get("/devices/{device_id}")
def takings(device_id: int) -> dict[str, Any]:
    with database() as db:
        query = "SELECT count(*) AS sales, coalesce(sum(cents), 0) AS cents FROM sales WHERE device_id = ?"
        return dict(db.execute(query, [device_id]).fetchone())


@reports.get("/sales.csv")
def sales_csv() -> StreamingResponse:
    def lines() -> Iterator[str]:
        yield "device,product,cents\n"
        with database() as db:
            for row in db.execute("SELECT device_id, product, cents FROM sales ORDER BY id"):
                yield "{},{},{}\n".format(*row)

    return StreamingResponse(lines(), media_type="text/csv")


@app.get("/boom")
def boom() -> None:
    raise RuntimeError("the coin slot is jammed")


app.include_router(device)
app.mount("/reports", reports)
with database() as db:
    db.executescript(Path(__file__).with_name("schema.sql").read_text("utf-8"))

app = obskit.instrument(app, service="vending", namespace="vending", auto=True)
