// The merchant's page: who is in the shop and what is in carts, live, for holders of a token.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { CLIENTS, answer, connect } from "./clients.mjs";
import { addProduct } from "./shopper.mjs";
import { demo } from "./start.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;
const CLIENT = CLIENTS.find(({ name }) => name === "phoenix 1.8 over WebSocket");

const server = await demo({ after });
const browser = await openBrowser({ after });
const key = async () => (await readFile(join(server.data, "admin.key"), "utf8")).trim();

async function merchantPage(t) {
  const page = await openPage(t, await browser.newContext(), `${server.url}/shop/admin`);
  await page.fill("#key", await key());
  await page.click("[data-enter] button");
  await page.locator('[data-live="on"]').waitFor({ timeout: NEWS_MS });
  return page;
}

test("SNK-U7: without a token neither the page nor its socket tells anything", async (t) => {
  const page = await fetch(`${server.url}/shop/admin`);
  assert.equal(page.status, 401);
  assert.doesNotMatch(await page.text(), /data-token|data-count/);
  const headers = { authorization: "Bearer wrong" };
  const entered = await fetch(`${server.url}/shop/admin/session`, { method: "POST", headers });
  assert.ok([401, 403].includes(entered.status), `${entered.status}`);
  assert.equal(entered.headers.get("set-cookie"), null);

  const socket = await connect(t, server, CLIENT);
  for (const params of [{}, { token: "x" }, { token: await key() }]) {
    const { status, response } = await answer(socket.channel("shop-counts", params).join());
    assert.deepEqual([status, response.reason], ["error", "unauthorized"]);
  }
  const events = await fetch(`${server.url}/v1/topics/shop-counts/events`);
  assert.deepEqual([events.status, (await events.json()).code], [403, "join_refused"]);
});

test("SNK-U7: three shoppers on two pages are counted, and a closed tab is gone", async (t) => {
  const merchant = await merchantPage(t);
  const shows = (what, count) =>
    eventually(`${what} ${count}`, NEWS_MS, async () => (await merchant.textContent(what)) === count);
  const { items } = await addProduct(server, { sizes: ["7", "8"], stock: 40, release: true });
  const context = await browser.newContext();
  const first = await openPage(t, context, server.url);
  const second = await openPage(t, await browser.newContext(), server.url);
  await openPage(t, await browser.newContext(), `${server.url}/checkout`);
  // The same shopper in another tab is still one shopper.
  const again = await openPage(t, context, server.url);

  await shows('[data-count="shoppers"]', "3");
  await shows('[data-page="shop"] b', "2");
  await shows('[data-page="checkout"] b', "1");
  await first.locator(`button[value="${items[0]}"]`).click();
  await shows(`[data-item="${items[0]}"] td:nth-child(2)`, "1");
  await shows(`[data-item="${items[0]}"] td:nth-child(3)`, "40");

  await again.close();
  await second.close();
  await shows('[data-page="shop"] b', "1");
  await shows('[data-count="shoppers"]', "2");
});

test("SNK-U7: who signs out sees nothing any more", async (t) => {
  const merchant = await merchantPage(t);
  await merchant.click("[data-leave]");
  await merchant.locator("[data-enter]").waitFor({ timeout: NEWS_MS });
  assert.equal(await merchant.locator("[data-count]").count(), 0);
});
