// Whatever a server answers, an EventSource comes back by itself, and has lost nothing: that of a
// browser, and that of npm.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";

import { openBrowser } from "./browser.mjs";
import { Page, Source } from "./sources.mjs";
import { ENDINGS, LIVE, REFUSALS, put, refused, surroundings } from "./troubles.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;
const PATH = "/v1/topics/table:d%2Ft/events";

const browser = await openBrowser({ after });

// Most of the time is spent on waiting to come back.
describe("all at once", { concurrency: true }, () => {
  for (const refusal of REFUSALS) {
    it(`${refusal.name}: both are back by themselves, and nothing is lost`, async (t) => {
      const around = await surroundings(t, refusal, 2);
      const { server, betweens } = around;
      const sources = await both(t, betweens);
      await put(server, "before");
      await all(sources, "before");

      const end = await refused(around, refusal);
      const meanwhile = put(server, "meanwhile");
      await end();
      await meanwhile;
      await put(server, "after");

      await all(sources, "before", "meanwhile", "after");
    });
  }

  for (const ending of ENDINGS) {
    it(`${ending.name}: both are back by themselves, and nothing is lost`, async (t) => {
      const around = await surroundings(t, ending, 2);
      const { server, betweens } = around;
      const sources = await both(t, betweens);
      await put(server, "before");
      await all(sources, "before");

      await ending.end(around);
      await put(server, "after");

      await all(sources, "before", "after");
    });
  }
});

it("what is final is told by its status, and ends them", async (t) => {
  const { server, betweens } = await surroundings(t, { config: LIVE }, 1);
  const [between] = betweens;
  for (const [topic, status] of [["nobody:knows", 404], ["inbox:ann", 404]]) {
    const source = new Source(t, `${between.url}/v1/topics/${topic}/events`);

    await eventually(`${topic} has ended`, NEWS_MS, () => source.isClosed);

    await between.answered(new RegExp(`HTTP/1.1 ${status}`));
    between.reopen();
  }
  const page = await Page.open(browser, between.url, "nobody:knows", "said");
  t.after(() => page.close());
  await eventually("the page has made others", NEWS_MS, async () => (await page.sources()) > 1);
  assert.ok(server);
});

/** An EventSource of the browser and one of npm: `{name, keys, check}`. */
async function both(t, betweens) {
  const page = await Page.open(browser, betweens[0].url, "table:d/t", "row");
  t.after(() => page.close());
  const source = new Source(t, betweens[1].url + PATH, "joined", "row");
  await eventually("both are open", NEWS_MS, async () => (await page.isOpen()) && source.heard.length > 0);
  return [
    {
      name: "Chromium",
      keys: async () => (await page.shown()).map(({ key }) => key),
      check: async () => assert.equal(await page.sources(), 1, "the browser gave up"),
    },
    {
      name: "eventsource",
      keys: async () => source.all("row").map(({ data }) => data.key),
      check: async () => assert.ok(!source.isClosed),
    },
  ];
}

/**
 * Both were told exactly these rows, each once, by the source that they began with. What was missed
 * comes by key.
 */
async function all(sources, ...wanted) {
  for (const { name, keys, check } of sources) {
    await eventually(`${name} hears ${wanted}`, NEWS_MS, async () => (await keys()).length >= wanted.length);
    assert.deepEqual((await keys()).toSorted(), wanted.toSorted(), name);
    await check();
  }
}
