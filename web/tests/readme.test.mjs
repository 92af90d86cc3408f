// The page that README.md shows, as it stands there, in a browser: with more rows than fit the
// reply of a join, several events, a lost connection and a killed server.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { it } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const README = await readFile(new URL("../../README.md", import.meta.url), "utf8");
const block = (fence, mark) =>
  [...README.matchAll(new RegExp(`^\`\`\`${fence}\\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text).find((text) => text.includes(mark));
const CONFIG = /<<'TOML'\n(.*?)^TOML$/ms.exec(block("sh", "<<'TOML'"))[1];
const SNIPPET = block("js", 'from "phoenix"');
const PHOENIX = new URL("node_modules/phoenix/priv/static/phoenix.mjs", import.meta.url);

// A second view on the topic, and its line in the page.
const PRICE = `
[[view]]
dataset = "store"
table = "items"
name = "price"
topic = "product:{product_id}"
event = "price"
filter = "has(row.price)"
project = { price = "row.price" }
`;
const PAGE = `<!doctype html><script type="importmap">{"imports": {"phoenix": "/phoenix.mjs"}}</script>
<script>
  const shown = {};
  const show = (event, key, value) => { (shown[event] ??= {})[key] = value };
  const hide = (event, key) => { delete shown[event]?.[key] };
  const clear = () => { for (const event in shown) delete shown[event] };
</script>
<script type="module">
${SNIPPET.replace("const on = {", 'const on = {\n  price: ({ key, price }) => show("price", key, price),')}
window.socket = socket;
</script>`;
const WAIT_MS = 20_000;

it("the page of the README shows 600 rows of several events, and stays right over a kill", async (t) => {
  const server = await serve(t, CONFIG + PRICE);
  const rows = new Map();
  const put = async (changed) => {
    for (const [key, row] of changed) rows.set(key, row);
    const ops = changed.map(([key, row]) => ({ op: "put", table: "items", key, row }));
    await server.commit("store", ops);
  };
  const row = (n, more) => ({ product_id: 1, count: n % 15, released: true, ...more });
  await put(Array.from({ length: 600 }, (_, n) => [`k${n}`, row(n, n % 2 ? { price: n } : {})]));
  const page = await open(t, server);
  await becomes(page, rows);

  // What enters, changes and leaves, each view by itself.
  await put([["k1", row(0)], ["k2", row(3, { price: 7 })], ["k3", { ...row(3), released: false }]]);
  await becomes(page, rows);

  await page.evaluate(() => window.socket.conn.close(3999, "a lost connection"));
  await put([["k4", { ...row(1), released: false }], ["new", row(12, { price: 1 })]]);
  await becomes(page, rows);

  await server.restart();
  await put([["k5", row(0)], ["late", row(2)]]);
  await becomes(page, rows);
});

/** The page, on the server's own origin: a document that no server has sent may not open sockets. */
async function open(t, server) {
  const browser = await openBrowser(t);
  const context = await browser.newContext();
  const body = await readFile(PHOENIX, "utf8");
  const contentType = "text/javascript";
  await context.route(`${server.url}/phoenix.mjs`, (route) => route.fulfill({ contentType, body }));
  const page = await openPage(t, context, `${server.url}/healthz`);
  await page.setContent(PAGE);
  return page;
}

/** Waits until the page shows exactly what the views say of these rows. */
async function becomes(page, rows) {
  const wanted = { stock: {}, price: {} };
  for (const [key, { count, released, price }] of rows) {
    if (released) wanted.stock[key] = count === 0 ? "out" : count < 10 ? "low" : "high";
    if (price !== undefined) wanted.price[key] = price;
  }
  const sorted = (shown) => ["stock", "price"].map((event) => Object.entries(shown[event] ?? {}).sort());
  const text = JSON.stringify(sorted(wanted));
  let seen;
  const same = async () => (seen = JSON.stringify(sorted(await page.evaluate("shown")))) === text;
  await eventually("the page is right", WAIT_MS, same).catch(() => assert.equal(seen, text));
}
