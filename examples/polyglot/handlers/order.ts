// What a till is asked and answers, and where it listens.
export interface Order {
  order: string;
  item: string;
  cents: number;
}

export interface Receipt {
  payment: number | null;
  taken: boolean;
}

// `--address 127.0.0.1:9081`
export function address(): { port: number } {
  const given = process.argv[process.argv.indexOf("--address") + 1] ?? "";
  return { port: Number(given.split(":").at(-1)) };
}

// Restate's SDK needs what came with Node 22; Node 20 is made up for it here.
const promise = Promise as unknown as { withResolvers?: unknown };
promise.withResolvers ??= () => {
  let resolve, reject;
  const made = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise: made, resolve, reject };
};
