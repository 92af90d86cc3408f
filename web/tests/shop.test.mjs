// The shop, as shoppers and merchants meet it: pages, sockets, forms, a browser.
//
// One server for all tests; each test brings products of its own, so they can run side by side.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { CLIENTS, answer, connect } from "./clients.mjs";
import {
  addProduct,
  count,
  countsInLog,
  countsInMemory,
  merchant,
  sell,
  setCount,
  Shopper,
  uuid7,
} from "./shopper.mjs";
import { demo } from "./start.mjs";
import { eventually } from "./wait.mjs";

const BROWSER_MS = 10_000;
const CLIENT = CLIENTS.find(({ name }) => name === "phoenix 1.8 over WebSocket");

const server = await demo({ after });
const browser = await openBrowser({ after });

test("SNK-01: one page shows coming soon before a release, and sizes with levels after it", async () => {
  const before = await addProduct(server, { sizes: ["7", "8"] });
  const product = await addProduct(server, { sizes: ["7", "8", "9", "10"], release: true });
  for (const [index, pieces] of [0, 149, 499, 500].entries()) {
    await setCount(server, product.items[index], pieces);
  }

  const page = await new Shopper(server).get("/");

  assert.match(section(page.body, before.id), /Coming soon/);
  assert.doesNotMatch(section(page.body, before.id), /data-item-id/);
  const html = section(page.body, product.id);
  assert.doesNotMatch(html, /coming soon/i);
  for (const [index, level] of ["out", "low", "medium", "high"].entries()) {
    const button = buttons(html).find((text) => text.includes(`value="${product.items[index]}"`));
    assert.match(button, new RegExp(`data-level="${level}"`));
    assert.equal(/ disabled/.test(button), level === "out");
  }
});

test("SNK-02: a product cannot be bought, an item can", async () => {
  const { id, items } = await addProduct(server, { release: true });
  const shopper = await new Shopper(server).enter();

  assert.equal((await shopper.add(id)).status, 404);
  assert.equal((await shopper.checkout()).body.reason, "empty");
  assert.equal((await shopper.add(items[0])).status, 200);
  assert.equal((await shopper.checkout()).status, 200);
  assert.equal(await count(server, items[0]), 499);
});

test("SNK-06: a release swaps ready HTML into an open page, without a page request", async (t) => {
  const { id, items } = await addProduct(server, { sizes: ["7", "8", "9"] });
  const page = await shop(t);
  const heard = await follow(t, `product:${id}`);
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.locator(`[data-product-id="${id}"] .coming`).waitFor({ timeout: BROWSER_MS });

  const began = Date.now();
  await merchant(server, `products/${id}/release`);
  await page.locator(`[data-item-id="${items[2]}"]`).waitFor({ timeout: BROWSER_MS });

  t.diagnostic(`the sizes were there after ${Date.now() - began} ms`);
  assert.deepEqual(requests, []);
  assert.equal(await page.locator(`[data-product-id="${id}"] .coming`).count(), 0);
  const released = await eventually("the message", BROWSER_MS, () => heard.of("released")[0]);
  for (const item of items) assert.ok(released.size_html.includes(`value="${item}"`));
});

test("SNK-07: stock is told when its level changes, and whenever it ends in out", async (t) => {
  const { id, items } = await addProduct(server, { sizes: ["8", "9"], release: true });
  const [item, marker] = items;
  await setCount(server, item, 151);
  const page = await shop(t);
  const heard = await follow(t, `product:${id}`);

  for (const pieces of [150, 149, 148, 1, 0]) await setCount(server, item, pieces);
  await page.locator(`[data-item-id="${item}"][data-level="out"]:disabled`).waitFor();
  const shown = await page.locator(`[data-item-id="${item}"]`).evaluate((size) => size.outerHTML);
  await setCount(server, item, 0);
  await setCount(server, marker, 0);
  await page.locator(`[data-item-id="${marker}"][data-level="out"]:disabled`).waitFor();
  await eventually("the last message", BROWSER_MS, () =>
    heard.of("stock_change").some(({ item_id }) => item_id === marker),
  );
  const html = await page.locator(`[data-item-id="${item}"]`).evaluate((size) => size.outerHTML);
  assert.equal(html, shown);

  const told = heard.of("stock_change").filter(({ item_id }) => item_id === item);
  assert.deepEqual(
    told.map(({ product_id, level }) => [product_id, level]),
    [[id, "low"], [id, "out"], [id, "out"]],
  );
});

test("SNK-10: rendered HTML and data-only messages work on one page", async (t) => {
  const { id, items } = await addProduct(server, { sizes: ["8", "9"] });
  const page = await shop(t);

  await merchant(server, `products/${id}/release`);
  await page.locator(`[data-item-id="${items[0]}"][data-level="high"]`).waitFor();
  await setCount(server, items[0], 100);
  await page.locator(`[data-item-id="${items[0]}"][data-level="low"]`).waitFor();
  await setCount(server, items[0], 0);

  await page.locator(`[data-item-id="${items[0]}"][data-level="out"]:disabled`).waitFor();
  assert.equal(await page.locator(`[data-item-id="${items[1]}"]:enabled`).count(), 1);
});

test("SNK-08: a join that is refused is shown, and the other products stay live", async (t) => {
  const refused = await addProduct(server, {});
  const fine = await addProduct(server, {});
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.routeWebSocket(/\/socket\/websocket/, (socket) => {
    const upstream = socket.connectToServer();
    socket.onMessage((text) => {
      const [join, ref, topic, event] = JSON.parse(text);
      if (event !== "phx_join" || topic !== `product:${refused.id}`) return upstream.send(text);
      const reply = { status: "error", response: { reason: "not today" } };
      socket.send(JSON.stringify([join, ref, topic, "phx_reply", reply]));
    });
  });
  const page = await openPage(t, context, `${server.url}/`);

  const trouble = page.locator(`[data-product-id="${refused.id}"] [data-trouble]`);
  await trouble.waitFor({ state: "visible", timeout: BROWSER_MS });
  assert.match(await trouble.textContent(), /not today/);
  await live(page);
  await merchant(server, `products/${fine.id}/release`);

  await page.locator(`[data-item-id="${fine.items[0]}"]`).waitFor({ timeout: BROWSER_MS });
});

test("SNK-09: a product's channel takes nothing from shoppers", async (t) => {
  const { id, items } = await addProduct(server, {});
  const heard = await follow(t, `product:${id}`);
  const pusher = await follow(t, `product:${id}`);

  for (const event of ["released", "stock_change", "leave"]) {
    const payload = { item_id: items[0], product_id: id, level: "out", size_html: "<b>x</b>" };
    assert.equal((await answer(pusher.channel.push(event, payload))).status, "error");
  }
  await merchant(server, `products/${id}/release`);

  await eventually("the true message", BROWSER_MS, () => heard.of("released")[0]);
  assert.equal(heard.events.length, 1);
});

test("SNK-14: of 200 buyers of the last pair exactly one gets it", async () => {
  const { items } = await addProduct(server, { release: true });
  await setCount(server, items[0], 1);
  const buyers = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const shopper = await new Shopper(server).enter();
      assert.equal((await shopper.add(items[0])).status, 200);
      return shopper;
    }),
  );

  const outcomes = await Promise.all(buyers.map((buyer) => buyer.checkout()));

  assert.equal(outcomes.filter(({ status }) => status === 200).length, 1);
  const late = outcomes.filter(({ body }) => body.reason === "sold_out");
  assert.equal(late.length, 199);
  assert.equal(await count(server, items[0]), 0);
});

test("SNK-14: 10 000 pairs sold to 200 buyers at once are exactly 10 000", async () => {
  const { items } = await addProduct(server, { release: true });
  await setCount(server, items[0], 10_000);
  const ops = [{ op: "add", table: "availability", key: `${items[0]}`, field: "count", by: -1, min: 0 }];
  let sold = 0;
  const buyer = async () => {
    for (;;) {
      const { status, body } = await server.request("POST", "/v1/datasets/shop/commits", { ops });
      if (status !== 200) return body.code;
      assert.ok(body.results[0] >= 0);
      sold += 1;
    }
  };

  const ends = await Promise.all(Array.from({ length: 200 }, buyer));

  assert.equal(sold, 10_000);
  assert.deepEqual([...new Set(ends)], ["out_of_bounds"]);
  assert.equal(await count(server, items[0]), 0);
});

test("SNK-15: a demonstration sale ends with every size out, and pages see it live", async (t) => {
  const { id, items } = await addProduct(server, { sizes: ["7", "8", "9"], release: true, stock: 200 });
  const page = await shop(t);

  const lines = await sell(server, { product: id, buyers: 50, rate: 0 });

  const last = lines.at(-1);
  assert.deepEqual([last.done, last.sold, last.stock], [true, 600, 600]);
  for (const item of items) {
    assert.equal(await count(server, item), 0);
    await page.locator(`[data-item-id="${item}"][data-level="out"]:disabled`).waitFor();
  }
  const tag = await page.locator(`[data-product-id="${id}"] [data-tag]`).textContent();
  assert.equal(tag, "Sold out");
  assert.equal((await merchant(server, "sell-until-gone", { product: 99 })).status, 404);
});

test("SNK-18: a page that lost its connection catches up by itself", async (t) => {
  const { id, items } = await addProduct(server, {});
  const context = await browser.newContext();
  t.after(() => context.close());
  let isCut = false;
  const sockets = [];
  await context.routeWebSocket(/\/socket\/websocket/, (socket) => {
    if (isCut) return socket.close({ code: 1012 });
    sockets.push(socket);
    socket.connectToServer();
  });
  const page = await openPage(t, context, `${server.url}/`);
  await live(page);

  isCut = true;
  for (const socket of sockets) await socket.close({ code: 1012 });
  await page.locator('[data-live="lost"]').waitFor({ timeout: BROWSER_MS });
  await merchant(server, `products/${id}/release`);
  await setCount(server, items[0], 0);
  const requests = [];
  page.on("request", (request) => requests.push(request.resourceType()));
  isCut = false;

  await page.locator(`[data-item-id="${items[0]}"][data-level="out"]`).waitFor({ timeout: BROWSER_MS });
  assert.ok(!requests.includes("document"));
});

test("SNK-20: an unknown product is 404, and a second release is no second message", async (t) => {
  const { id, items } = await addProduct(server, {});
  const heard = await follow(t, `product:${id}`);

  for (const unknown of ["0", "98", "abc", "-1"]) {
    assert.equal((await merchant(server, `products/${unknown}/release`)).status, 404);
  }
  const first = await merchant(server, `products/${id}/release`);
  const second = await merchant(server, `products/${id}/release`);
  await setCount(server, items[0], 0);

  assert.deepEqual([first.body.released_before, second.body.released_before], [false, true]);
  await eventually("the marker", BROWSER_MS, () => heard.of("stock_change")[0]);
  assert.equal(heard.of("released").length, 1);
});

test("SNK-R4: a cart whose second item is gone buys nothing, and no page is told of the first", async (t) => {
  const { id, items } = await addProduct(server, { sizes: ["8", "9", "10"], release: true });
  const [first, gone, marker] = items;
  await setCount(server, first, 1);
  await setCount(server, gone, 0);
  const shopper = await new Shopper(server).enter();
  await shopper.add(first);
  await shopper.add(gone);
  const heard = await follow(t, `product:${id}`);

  const outcome = await shopper.checkout();
  await setCount(server, marker, 0);

  assert.deepEqual([outcome.status, outcome.body.reason], [409, "sold_out"]);
  await eventually("the marker", BROWSER_MS, () => heard.of("stock_change")[0]);
  assert.deepEqual(heard.of("stock_change").map(({ item_id }) => item_id), [marker]);
  assert.equal(await count(server, first), 1);
  await shopper.post("/cart/remove", { item_id: gone });
  assert.equal((await shopper.checkout()).status, 200);
  assert.equal(await count(server, first), 0);
  assert.deepEqual(await countsInMemory(server), await countsInLog(server));
});

test("SNK-R5: after 1000 sales at once the count is right, and positions never went back", async (t) => {
  const { id, items } = await addProduct(server, { release: true, stock: 1000 });
  const heard = await follow(t, `product:${id}`);

  const lines = await sell(server, { product: id, buyers: 200, rate: 0 });

  assert.equal(lines.at(-1).sold, 1000);
  assert.equal(await count(server, items[0]), 0);
  assert.deepEqual(await countsInMemory(server), await countsInLog(server));
  await eventually("the last level", BROWSER_MS, () => heard.of("stock_change").at(-1)?.level === "out");
  const positions = heard.events.map(({ payload }) => payload.position).filter(Boolean);
  assert.deepEqual(positions, [...positions].sort());
});

test("SNK-R8: letters as an item and an odd cart id are answered, and the channels live", async (t) => {
  const { items } = await addProduct(server, {});
  const shopper = await new Shopper(server).enter();
  const { socket, channel } = await bag(t, shopper);

  for (const odd of ["abc", "", null, 1.5, -1, {}, [101]]) {
    const { status, response } = await answer(channel.push("add_item", { item_id: odd }));
    assert.deepEqual([status, response.reason], ["error", "not_found"], JSON.stringify(odd));
  }
  const strange = socket.channel("cart:abc", { token: shopper.cartToken });
  t.after(() => strange.leave());
  const refused = await answer(strange.join());
  assert.deepEqual([refused.status, refused.response.reason], ["error", "unauthorized"]);

  const { status, response } = await answer(channel.push("add_item", { item_id: items[0] }));
  assert.deepEqual([status, response.cart.count], ["ok", 1]);
});

test("SNK-U1: a tampered or foreign cart token is an empty cart and never an error", async () => {
  const { items } = await addProduct(server, {});
  const shopper = await new Shopper(server).enter();
  await shopper.add(items[0]);
  assert.equal((await shopper.cart()).count, 1);
  assert.equal(shopper.cartTopic.length, "cart:".length + 64);

  for (const at of [0, 10, shopper.cookie.length - 1]) {
    const flipped = shopper.cookie[at] === "A" ? "B" : "A";
    const cookie = shopper.cookie.slice(0, at) + flipped + shopper.cookie.slice(at + 1);
    const thief = new Shopper(server, cookie);
    assert.equal((await thief.cart()).count, 0);
    assert.equal((await thief.get("/")).status, 200);
  }
});

test("SNK-U2: items go in and out over the channel, each answer with its reason", async (t) => {
  const { items } = await addProduct(server, { sizes: ["8", "9"] });
  await setCount(server, items[1], 0);
  const { channel } = await bag(t, await new Shopper(server).enter());
  const push = async (event, item_id) => {
    const { status, response } = await answer(channel.push(event, { item_id }));
    return status === "ok" ? response.cart.count : response.reason;
  };

  assert.equal(await push("add_item", items[0]), 1);
  assert.equal(await push("add_item", items[0]), "duplicate_item");
  assert.equal(await push("add_item", `${items[1]}`), 2);
  assert.equal(await push("add_item", 9999), "not_found");
  assert.equal(await push("remove_item", items[0]), 1);
  assert.equal(await push("remove_item", items[0]), "not_found");
  assert.equal(await push("buy_everything", items[0]), "unknown_event");
});

test("SNK-U2: no shopper joins the cart of another", async (t) => {
  const [mine, other] = [await new Shopper(server).enter(), await new Shopper(server).enter()];
  const socket = await connect(t, server, CLIENT);

  for (const params of [{}, { token: other.cartToken }, { token: other.formToken }]) {
    const channel = socket.channel(mine.cartTopic, params);
    const { status } = await answer(channel.join());
    channel.leave();
    assert.equal(status, "error");
  }
});

test("SNK-U3: two tabs of one shopper stay equal", async (t) => {
  const { items } = await addProduct(server, { release: true });
  const context = await browser.newContext();
  t.after(() => context.close());
  const [left, right] = [
    await openPage(t, context, `${server.url}/`),
    await openPage(t, context, `${server.url}/`),
  ];
  await live(left);
  await live(right);

  await left.locator(`[data-item-id="${items[0]}"]`).click();
  await right.locator('[data-cart-count][data-count="1"]').waitFor({ timeout: BROWSER_MS });
  await right.locator(`[data-item-id="${items[0]}"].in-bag`).waitFor();
  await right.locator("[data-open-bag]").click();
  await right.locator(`[data-bag] [data-remove="${items[0]}"]`).click();

  await left.locator('[data-cart-count][data-count="0"]').waitFor({ timeout: BROWSER_MS });
  await left.locator("[data-bag] .bag-empty").waitFor();
});

test("SNK-U4: when an item sells out, the carts that hold it are told, and no others", async (t) => {
  const { items } = await addProduct(server, { sizes: ["8", "9"], release: true });
  const [wanted, marker] = items;
  await setCount(server, wanted, 1);
  const [holder, other, buyer] = await Promise.all(
    [0, 1, 2].map(() => new Shopper(server).enter()),
  );
  await holder.add(wanted);
  await other.add(marker);
  await buyer.add(wanted);
  const [held, others] = [await bag(t, holder), await bag(t, other)];

  assert.equal((await buyer.checkout()).status, 200);

  const told = await eventually("the holder is told", BROWSER_MS, () => held.of("cart_updated")[0]);
  assert.deepEqual(told.items.map(({ item_id, sold_out }) => [item_id, sold_out]), [[wanted, true]]);
  await setCount(server, marker, 0);
  await eventually("the marker", BROWSER_MS, () => others.of("cart_updated")[0]);
  assert.deepEqual(others.of("cart_updated").map(({ items }) => items[0].item_id), [marker]);
});

test("SNK-U5: an empty cart has nothing to buy, and says so", async () => {
  const shopper = await new Shopper(server).enter();

  assert.match((await shopper.get("/checkout")).body, /bag is empty/);
  const page = await shopper.post("/checkout", { order: uuid7() });

  assert.equal(page.status, 409);
  assert.match(page.body, /data-reason="empty"/);
});

test("SNK-U5: sold out and unreleased bring the shopper back with the reason", async () => {
  const { items } = await addProduct(server, { sizes: ["8"] });
  const shopper = await new Shopper(server).enter();
  await shopper.add(items[0]);

  const early = await shopper.post("/checkout", { order: uuid7() });
  assert.match(early.body, /data-reason="not_released"/);

  const late = await addProduct(server, { sizes: ["8"], release: true, stock: 0 });
  const second = await new Shopper(server).enter();
  await second.add(late.items[0]);
  const page = await second.post("/checkout", { order: uuid7() });
  assert.deepEqual([page.status, /data-reason="sold_out"/.test(page.body)], [409, true]);
  assert.equal((await second.cart()).count, 1);
});

test("SNK-U5: a purchase takes every item once, empties the cart, and a double click buys once", async () => {
  const { items } = await addProduct(server, { sizes: ["8", "9"], release: true });
  const shopper = await new Shopper(server).enter();
  for (const item of items) await shopper.add(item);
  const order = uuid7();

  const clicks = await Promise.all([1, 2, 3].map(() => shopper.post("/checkout", { order })));

  for (const { status, headers } of clicks) {
    assert.equal(status, 303);
    assert.equal(headers.get("location"), `/checkout/complete?order=${order}`);
  }
  for (const item of items) assert.equal(await count(server, item), 499);
  assert.equal((await shopper.cart()).count, 0);
  const mine = await shopper.get(`/checkout/complete?order=${order}`);
  for (const item of items) assert.ok(mine.body.includes(`data-line="${item}"`));
  const stranger = await new Shopper(server).enter();
  assert.equal((await stranger.get(`/checkout/complete?order=${order}`)).status, 303);
});

test("SNK-U5: a shopper buys in the browser, and the bag is empty afterwards", async (t) => {
  const { items } = await addProduct(server, { release: true });
  const page = await shop(t);

  await page.locator(`[data-item-id="${items[0]}"]`).click();
  await page.locator("[data-to-checkout]").click();
  await page.locator("[data-buy] button").click();
  await page.locator(`.done [data-line="${items[0]}"]`).waitFor({ timeout: BROWSER_MS });

  assert.equal(await page.locator("[data-cart-count]").textContent(), "0");
  assert.equal(await count(server, items[0]), 499);
});

test("SNK-U5: without any script the shop works by forms", async (t) => {
  const { items } = await addProduct(server, { release: true });
  const context = await browser.newContext({ javaScriptEnabled: false });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`${server.url}/`);

  await page.locator(`[data-item-id="${items[0]}"]`).click();
  await page.locator(`.till [data-line="${items[0]}"]`).waitFor({ timeout: BROWSER_MS });
  await page.locator("[data-buy] button").click();

  await page.locator(`.done [data-line="${items[0]}"]`).waitFor({ timeout: BROWSER_MS });
});

test("SNK-U6: pages are never cached, and a form that no page of ours made is 403", async () => {
  const { items } = await addProduct(server, { release: true });
  const shopper = await new Shopper(server).enter();
  const stranger = await new Shopper(server).enter();

  for (const path of ["/", "/checkout", "/cart"]) {
    const { headers } = await shopper.get(path);
    assert.equal(headers.get("cache-control"), "no-store, must-revalidate");
  }
  const fields = { item_id: items[0], order: uuid7() };
  for (const path of ["/cart/add", "/cart/remove", "/checkout"]) {
    for (const form_token of ["", "x.y", stranger.formToken, shopper.cartToken]) {
      assert.equal((await shopper.post(path, { ...fields, form_token })).status, 403, path);
    }
  }
  const bare = await fetch(`${server.url}/checkout`, { method: "POST", redirect: "manual" });
  assert.equal(bare.status, 403);
  assert.equal((await shopper.cart()).count, 0);
});

test("SNK-U6: assets are cached for long under an address that names their content", async () => {
  const page = await new Shopper(server).get("/");
  const path = /href="(\/shop\/assets\/[^"]+\/shop\.css)"/.exec(page.body)[1];

  const first = await fetch(server.url + path);
  const etag = first.headers.get("etag");
  const again = await fetch(server.url + path, { headers: { "if-none-match": etag } });

  assert.equal(first.headers.get("cache-control"), "public, max-age=31536000, immutable");
  assert.deepEqual([first.status, again.status], [200, 304]);
  const old = await fetch(server.url + path.replace(/[0-9a-f]{16}/, "0".repeat(16)));
  assert.deepEqual([old.status, old.headers.get("cache-control")], [200, "no-cache"]);
});

test("SNK-U8: a second seed adds nothing, and no sku is there twice", async () => {
  await merchant(server, "seed");
  const { body } = await merchant(server, "seed");
  const shelf = await server.must("GET", "/shop/admin/products");

  assert.deepEqual(body, { products: 0, items: 0 });
  const seeded = shelf.products.filter(({ id }) => id <= 2);
  assert.deepEqual(seeded.map(({ items }) => items.length), [13, 13]);
  const skus = shelf.products.flatMap(({ items }) => items.map(({ sku }) => sku));
  assert.equal(new Set(skus).size, skus.length);
});

test("SNK-U8: what a merchant does needs the admin key", async () => {
  for (const path of ["seed", "products/1/release", "items/101/stock", "sell-until-gone"]) {
    const bare = await fetch(`${server.url}/shop/admin/${path}`, { method: "POST" });
    assert.equal(bare.status, 401, path);
  }
});

// What the tests are written in.

/** The part of the page that shows one product. */
function section(html, id) {
  return html.split("<article").find((part) => part.includes(`data-product-id="${id}"`));
}

function buttons(html) {
  return html.split("<button").slice(1).map((part) => part.split(">")[0]);
}

/** A page of a new shopper whose channels are joined. */
async function shop(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await openPage(t, context, `${server.url}/`);
  await live(page);
  return page;
}

async function live(page) {
  await page.locator('[data-live="on"]').waitFor({ timeout: BROWSER_MS });
}

/** A joined channel, and what it hears after the join, in order. */
async function follow(t, topic, params = {}) {
  const socket = await connect(t, server, CLIENT);
  const channel = socket.channel(topic, params);
  const events = [];
  const { status, response } = await answer(channel.join());
  assert.equal(status, "ok", JSON.stringify(response));
  socket.onMessage(({ topic: of, event, payload }) => {
    const isNews = of === topic && !event.startsWith("phx_") && event !== "bookmark";
    if (isNews) events.push({ event, payload });
  });
  const of = (event) => events.filter((heard) => heard.event === event).map(({ payload }) => payload);
  return { socket, channel, events, of };
}

/** The joined channel of a shopper's cart. */
function bag(t, shopper) {
  return follow(t, shopper.cartTopic, { token: shopper.cartToken });
}
