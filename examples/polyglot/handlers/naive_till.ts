// The same till by the usual recipe: each write in a step of its own. A crash between the database's
// commit and the journal entry runs the step again, and the row is there twice.
import { existsSync, unlinkSync } from "node:fs";
import pg from "pg";
import * as restate from "@restatedev/restate-sdk";
import { address, type Order, type Receipt } from "./order.js";

const ledger = new pg.Pool({ connectionString: process.env["LEDGER_URL"]!, max: 8 });
// An idle connection that the server closed is no reason to end.
ledger.on("error", () => {});

const stock: restate.ServiceDefinition<"NaiveStock", {
  take: (ctx: restate.Context, order: Order) => Promise<boolean>;
}> = { name: "NaiveStock" };

const till = restate.service({
  name: "TillTs",
  handlers: {
    pay: async (ctx: restate.Context, order: Order): Promise<Receipt> => {
      const id = await ctx.run("charge", async () => {
        const insert = "INSERT INTO payment (order_name, cents, language) VALUES ($1, $2, 'ts') RETURNING id";
        const { rows } = await ledger.query(insert, [order.order, order.cents]);
        crashIfAsked();
        return Number(rows[0].id);
      });
      if (await ctx.serviceClient(stock).take(order)) return { payment: id, taken: true };
      await ctx.run("refund", async () => {
        const insert = "INSERT INTO refund (order_name, payment) VALUES ($1, $2)";
        await ledger.query(insert, [order.order, id]);
      });
      return { payment: id, taken: false };
    },
  },
});

// The driver asks for a crash by a file; SIGKILL, so nothing is tidied up.
function crashIfAsked(): void {
  const file = process.env["CRASH_FILE"];
  if (file && existsSync(file)) {
    unlinkSync(file);
    process.kill(process.pid, "SIGKILL");
  }
}

restate.serve({ services: [till], ...address() });
