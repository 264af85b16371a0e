"""A till in Python. It has no database and no library of ours: it calls the service `ShopDb`, whose
typed wrapper `exactly-once serve --types py` has made."""

import restate
from restate.exceptions import TerminalError

from order import serve
from shopdb import ShopDb, refusal_of

till = restate.Service("TillPy")


# Two effects, one after the other. Where the stock refuses, the payment is paid back.
@till.handler()
async def pay(ctx: restate.Context, order: dict) -> dict:
    shop = ShopDb(ctx)
    paid = await shop.charge(order=order["order"], cents=order["cents"], language="py")
    try:
        await shop.take(order=order["order"], item=order["item"])
        return {"payment": paid["id"], "taken": True}
    except TerminalError as error:
        refusal = refusal_of(error)
        if refusal is None or refusal.kind != "refused":
            raise
    await shop.refund(order=order["order"], payment=paid["id"])
    return {"payment": paid["id"], "taken": False}


# One transaction over both databases: nothing to pay back. `rolled_back` is a refusal, too: of an attempt
# that crashed before it could say why, or by the deadline.
@till.handler()
async def payAtOnce(ctx: restate.Context, order: dict) -> dict:
    try:
        await ShopDb(ctx).order(**order, language="py")
        return {"payment": None, "taken": True}
    except TerminalError as error:
        refusal = refusal_of(error)
        if refusal is None or refusal.kind not in ("refused", "rolled_back"):
            raise
    return {"payment": None, "taken": False}


if __name__ == "__main__":
    serve([till])
