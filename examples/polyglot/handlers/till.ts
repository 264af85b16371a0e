// A till in TypeScript. It has no database and no library of ours: it calls the service `ShopDb`, whose
// typed wrapper `exactly-once serve --types ts` has made.
import * as restate from "@restatedev/restate-sdk";
import { ShopDb, refusalOf } from "./shopdb.js";
import { address, type Order, type Receipt } from "./order.js";

const till = restate.service({
  name: "TillTs",
  handlers: {
    // Two effects, one after the other. Where the stock refuses, the payment is paid back.
    pay: async (ctx: restate.Context, { order, item, cents }: Order): Promise<Receipt> => {
      const shop = ctx.serviceClient(ShopDb);
      const { id } = await shop.charge({ order, cents, language: "ts" });
      try {
        await shop.take({ order, item });
        return { payment: id, taken: true };
      } catch (error) {
        if (refusalOf(error)?.kind !== "refused") throw error;
        await shop.refund({ order, payment: id });
        return { payment: id, taken: false };
      }
    },

    // One transaction over both databases: nothing to pay back. `rolled_back` is a refusal, too: of an
    // attempt that crashed before it could say why, or by the deadline.
    payAtOnce: async (ctx: restate.Context, { order, item, cents }: Order): Promise<Receipt> => {
      try {
        await ctx.serviceClient(ShopDb).order({ order, item, cents, language: "ts" });
        return { payment: null, taken: true };
      } catch (error) {
        const kind = refusalOf(error)?.kind;
        if (kind !== "refused" && kind !== "rolled_back") throw error;
        return { payment: null, taken: false };
      }
    },
  },
});

restate.serve({ services: [till], ...address() });
