"""The same till by the usual recipe: each write in a step of its own. A crash between the database's
commit and the journal entry runs the step again, and the row is there twice."""

import os
import signal
import sqlite3

import psycopg
import restate

from order import serve

till = restate.Service("TillPy")
stock = restate.Service("NaiveStock")


def crash_if_asked() -> None:
    """The driver asks for a crash by a file; SIGKILL, so nothing is tidied up."""
    file = os.environ.get("CRASH_FILE")
    if file and os.path.exists(file):
        os.unlink(file)
        os.kill(os.getpid(), signal.SIGKILL)


def ledger(sql: str, *values) -> list:
    with psycopg.connect(os.environ["LEDGER_URL"]) as connection:
        cursor = connection.execute(sql, values)
        rows = cursor.fetchall() if cursor.description else []
    crash_if_asked()
    return rows


def take_piece(order: dict) -> bool:
    path = os.environ["STOCK_URL"].removeprefix("sqlite:")
    with sqlite3.connect(path, timeout=30) as connection:
        update = "UPDATE stock SET pieces = pieces - 1 WHERE item = ? AND pieces > 0"
        if connection.execute(update, [order["item"]]).rowcount != 1:
            return False
        insert = "INSERT INTO taken (order_name, item) VALUES (?, ?)"
        connection.execute(insert, [order["order"], order["item"]])
    crash_if_asked()
    return True


@stock.handler()
async def take(ctx: restate.Context, order: dict) -> bool:
    return await ctx.run_typed("take", lambda: take_piece(order))


@till.handler()
async def pay(ctx: restate.Context, order: dict) -> dict:
    insert = "INSERT INTO payment (order_name, cents, language) VALUES (%s, %s, 'py') RETURNING id"
    charge = lambda: ledger(insert, order["order"], order["cents"])[0][0]
    payment = await ctx.run_typed("charge", charge)
    if await ctx.service_call(take, arg=order):
        return {"payment": payment, "taken": True}
    refund = "INSERT INTO refund (order_name, payment) VALUES (%s, %s)"
    await ctx.run_typed("refund", lambda: len(ledger(refund, order["order"], payment)))
    return {"payment": payment, "taken": False}


if __name__ == "__main__":
    serve([till, stock])
