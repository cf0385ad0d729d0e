// A download that is made while it is sent: a table of any number of rows, in the memory of a few.
// The generator rests while the client does not read, and ends when the client leaves.
import { raw, serve } from "millrace";

const ROWS_MAX = 100_000_000;
const GRAINS = ["rye", "oats", "barley", 'wheat, "hard"'];
const state = { open: 0, rows: 0, left: 0 };

const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

async function* table(count) {
  state.open += 1;
  let isWhole = false;
  try {
    yield "number,grain,sacks\r\n";
    // Many rows at a time: each chunk costs, each row does not.
    for (let first = 1; first <= count; first += 1000) {
      let text = "";
      for (let n = first; n < first + 1000 && n <= count; n += 1) {
        text += `${n},${field(GRAINS[n % GRAINS.length])},${(n * 7) % 100}\r\n`;
        state.rows += 1;
      }
      yield text; // here it waits for the client
    }
    isWhole = true;
  } finally {
    state.open -= 1;
    if (!isWhole) state.left += 1;
  }
}

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response("Get /grain.csv?rows=1000000, with curl --limit-rate too.\n"),
    "/grain.csv": raw(async (req, res) => {
      const count = Number(req.query.get("rows") ?? 1_000_000);
      if (!Number.isSafeInteger(count) || count < 0 || count > ROWS_MAX) {
        res.status(400).end(`rows is a number up to ${ROWS_MAX}\n`);
        return;
      }
      res.header("content-type", "text/csv; charset=utf-8");
      res.header("content-disposition", 'attachment; filename="grain.csv"');
      await res.stream(table(count)); // a client that leaves concerns nobody else
    }),
    "/state": raw((_req, res) => void res.json(state)),
  },
  gracefulShutdown: true,
});
console.log(`download on ${server.url}`);
