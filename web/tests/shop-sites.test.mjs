// The page of the sites: copies of the shop in processes of their own that a visitor stops, kills,
// wipes and clones, and that heal before one's eyes.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { openBrowser, openPage } from "./browser.mjs";
import { addProduct, Shopper } from "./shopper.mjs";
import { demo, serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

/** How long a process may take to start, to take its dump and to be seen. */
const HEALED_MS = 30_000;

const browser = await openBrowser({ after });

test("a site that was killed is behind until it is started, and is the same again then", async (t) => {
  const { server, page, site } = await open(t);
  const buy = await buyer(server);
  const [berlin, dublin] = [site("berlin"), site("dublin")];
  for (const one of [berlin, dublin, site("osaka")]) await one.isSame();

  await buy();
  for (const one of [berlin, dublin]) {
    await one.shows("orders", "1");
    await one.isSame();
  }
  await berlin.press("kill");
  await berlin.shows("chip", "killed");
  await buy();

  await dublin.shows("orders", "2");
  await dublin.isSame();
  await berlin.shows("same", "differs from the server");
  await berlin.shows("orders", "1");
  assert.ok(Number(await berlin.text("behind")) > 0);
  await berlin.press("start");
  await berlin.shows("orders", "2");
  await berlin.isSame();
  assert.equal(await page.locator("[data-trouble]").isVisible(), false);
});

test("a site that was wiped is cloned, and so is a fourth one", async (t) => {
  const { server, page, site } = await open(t);
  await (await buyer(server))();
  const dublin = site("dublin");
  await dublin.shows("orders", "1");

  await dublin.press("wipe");
  await dublin.shows("chip", "empty");
  await dublin.shows("orders", "–");
  await dublin.press("clone");
  await dublin.shows("orders", "1");
  await dublin.isSame();

  await page.locator("[data-add] button").click();
  const lima = site("lima");
  await lima.isSame();
  await lima.press("remove");
  await lima.card.waitFor({ state: "detached", timeout: HEALED_MS });
  const { sites } = await server.must("GET", "/v1/datasets/shop/sites");
  assert.deepEqual(sites.map(({ site }) => site), ["berlin", "dublin", "osaka"]);
});

test("a site is cloned from another one, while that one applies", async (t) => {
  const { server, site } = await open(t);
  const buy = await buyer(server);
  const [berlin, osaka] = [site("berlin"), site("osaka")];
  for (const one of [berlin, osaka]) await one.isSame();

  await berlin.press("wipe");
  await berlin.shows("chip", "empty");
  await berlin.choose("osaka");
  await berlin.press("clone");
  await Promise.all([buy(), buy()]);

  for (const one of [berlin, osaka]) {
    await one.shows("orders", "2");
    await one.isSame();
  }
  const { sites } = await server.must("GET", "/v1/datasets/shop/sites");
  assert.equal(sites.find(({ site }) => site === "berlin").source, "osaka");
});

test("a site that is stopped or paused keeps what it has, and goes on from there", async (t) => {
  const { server, site } = await open(t);
  const buy = await buyer(server);
  const [berlin, dublin] = [site("berlin"), site("dublin")];
  for (const one of [berlin, dublin]) await one.isSame();

  await berlin.press("stop");
  await berlin.shows("chip", "stopped");
  await dublin.press("pause");
  await dublin.shows("chip", "paused");
  await buy();
  for (const one of [berlin, dublin]) await one.shows("same", "differs from the server");
  await berlin.press("start");
  await dublin.press("resume");

  for (const one of [berlin, dublin]) await one.isSame();
});

test("the demo starts an agent again that ends by itself, and leaves none behind", async (t) => {
  const { server, page, site } = await open(t);
  const berlin = site("berlin");
  await berlin.isSame();
  const pid = async () => Number((await berlin.text("process")).replaceAll(/\D/g, ""));
  const first = await pid();

  process.kill(first, "SIGKILL");
  await eventually("another process", HEALED_MS, async () => ![0, first].includes(await pid()));
  await berlin.isSame();
  const second = await pid();
  await server.kill();

  await eventually("the end of the agent", HEALED_MS, () => !isThere(second));
  await page.locator('[data-live="lost"]').waitFor({ timeout: HEALED_MS });
  await server.start();
  await page.locator('[data-live="on"]').waitFor({ timeout: HEALED_MS });
  await eventually("another process", HEALED_MS, async () => ![0, second].includes(await pid()));
  await berlin.isSame();
  const third = await pid();
  await server.kill("SIGTERM");
  assert.equal(isThere(third), false, "a stop ends the agents first");
});

test("an order needs the token of its page or the admin key, and there is none in serve", async (t) => {
  const server = await demo(t);
  const shopper = await new Shopper(server).enter();
  const order = { site: "berlin", action: "pause" };
  const bare = { method: "POST", body: new URLSearchParams(order) };

  const stranger = await fetch(`${server.url}/sites`, bare);
  const forged = await shopper.post("/sites", { ...order, form_token: "x" });
  const unknown = await shopper.post("/sites", { ...order, site: "rome" });
  const odd = await shopper.post("/sites", { ...order, action: "burn" });
  const headers = await server.authorization();
  const program = await fetch(`${server.url}/sites`, {
    ...bare,
    body: new URLSearchParams({ ...order, site: "osaka", action: "stop" }),
    headers,
  });

  assert.deepEqual([stranger.status, (await stranger.json()).code], [403, "forbidden"]);
  assert.deepEqual([forged.status, forged.body.code], [403, "forbidden"]);
  assert.deepEqual([unknown.status, unknown.body.code], [409, "not_done"]);
  assert.deepEqual([odd.status, odd.body.code], [422, "bad_action"]);
  assert.equal(program.status, 204);
  const other = await serve(t);
  assert.equal((await fetch(`${other.url}/sites`)).status, 404);
});

test("a phone shows the sites without scrolling sideways", async (t) => {
  const { page, site } = await open(t, { width: 390, height: 844 });
  await site("berlin").isSame();

  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.deepEqual(widths, [390, 390]);
});

/** A demo of one's own with its page of sites, and its cards by name. */
async function open(t, viewport = { width: 1280, height: 900 }) {
  const server = await demo(t);
  const context = await browser.newContext({ viewport });
  t.after(() => context.close());
  const page = await openPage(t, context, server.url);
  await page.getByRole("link", { name: "Sites" }).click();
  await page.locator('[data-live="on"]').waitFor({ timeout: HEALED_MS });
  return { server, page, site: (name) => new Card(page, name) };
}

/** A function that buys a pair, each time as a new shopper. */
async function buyer(server) {
  const { items } = await addProduct(server, { release: true });
  return async () => {
    const shopper = await new Shopper(server).enter();
    assert.equal((await shopper.add(items[0])).status, 200);
    assert.equal((await shopper.checkout()).status, 200);
  };
}

function isThere(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The card of a site. */
class Card {
  constructor(page, name) {
    this.name = name;
    this.card = page.locator(`[data-site="${name}"]`);
  }

  async text(field) {
    return (await this.card.locator(`[data-field="${field}"]`).textContent()).trim();
  }

  shows(field, words) {
    return eventually(`${field} of ${this.name}: ${words}`, HEALED_MS, async () => {
      return (await this.text(field)) === words;
    });
  }

  async isSame() {
    await this.shows("chip", "up to date");
    await this.shows("same", "same as the server");
    await this.shows("behind", "0");
  }

  /** Chooses the source of its next dump. */
  choose(source) {
    return this.card.locator("select").selectOption(source, { timeout: HEALED_MS });
  }

  press(action) {
    return this.card.locator(`button[value="${action}"]`).click();
  }
}
