// Topics over plain HTTP: a browser's EventSource, and lines for other clients.

import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import { after, describe, it } from "node:test";

import { openBrowser } from "./browser.mjs";
import { serve } from "./start.mjs";
import { eventually, within } from "./wait.mjs";

const CONFIG = `
[[live]]
topic = "room:*"

[[live]]
topic = "kept:*"
history = 100
presence = "list"

[log]
segment_bytes = 65536
`;

const NEWS_MS = 20_000;

const server = await serve({ after }, CONFIG);
await server.createPublicTable("d", "t");
const publish = (topic, n) => server.must("POST", `/v1/topics/${topic}`, { event: "said", payload: { n } });
const put = (key, n) => server.commit("d", [{ op: "put", table: "t", key, row: { n } }]);

/** Stands between a client and the server, and cuts as a network does. */
async function cuttable(t) {
  const sockets = new Set();
  const { hostname, port } = new URL(server.url);
  const proxy = net.createServer((client) => {
    const upstream = net.connect(Number(port), hostname);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy() && sockets.delete(one));
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    proxy.close();
  });
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut: () => sockets.forEach((socket) => socket.destroy()),
  };
}

/** An EventSource in a real browser; what it hears is in `heard()`. */
async function source(t, url, path, ...events) {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(`${url}/healthz`);
  await page.evaluate(
    ([path, events]) => {
      window.heard = [];
      window.source = new EventSource(path);
      for (const event of events) {
        window.source.addEventListener(event, ({ data, lastEventId }) =>
          window.heard.push({ event, data: JSON.parse(data), id: lastEventId }),
        );
      }
    },
    [path, events],
  );
  const heard = (event) =>
    page.evaluate((event) => window.heard.filter((one) => one.event === event), event);
  return { heard, page };
}

describe("server-sent events", () => {
  it("a browser resumes a live topic by itself and misses nothing", async (t) => {
    const between = await cuttable(t);
    const path = "/v1/topics/kept:events/events";
    const { heard } = await source(t, between.url, path, "joined", "said");
    await eventually("it has joined", NEWS_MS, async () => (await heard("joined")).length === 1);
    await publish("kept:events", 1);
    await eventually("the first", NEWS_MS, async () => (await heard("said")).length === 1);

    between.cut();
    await publish("kept:events", 2);
    await publish("kept:events", 3);
    await eventually("it is back", NEWS_MS, async () => (await heard("joined")).length === 2);
    await publish("kept:events", 4);

    await eventually("the last", NEWS_MS, async () => (await heard("said")).length >= 4);
    assert.deepEqual((await heard("said")).map(({ data }) => data.n), [1, 2, 3, 4]);
    const [first, back] = await heard("joined");
    assert.deepEqual([first.data.mode, back.data.mode, back.data.recovered], ["live", "resume", true]);
    assert.equal(back.id, `${first.data.epoch}-1`);
  });

  it("a browser resumes a table over a kill of the server", async (t) => {
    await put("a", 1);
    const { heard } = await source(t, server.url, "/v1/topics/table:d%2Ft/events", "joined", "row");
    await eventually("it has joined", NEWS_MS, async () => (await heard("joined")).length === 1);
    assert.equal((await heard("joined"))[0].data.mode, "snapshot");
    await put("b", 2);
    await eventually("a row", NEWS_MS, async () => (await heard("row")).length === 1);

    await server.restart();
    await put("c", 3);

    await eventually("the rest", NEWS_MS, async () => (await heard("row")).length === 2);
    assert.deepEqual((await heard("row")).map(({ data }) => data.key), ["b", "c"]);
    assert.equal((await heard("joined")).at(-1).data.mode, "resume");
  });

  it("what does not fit the reply follows in chunks, and the place is given behind them", async (t) => {
    await server.createPublicTable("d", "many");
    const ops = Array.from({ length: 600 }, (_, n) => ({ op: "put", table: "many", key: `k${n}`, row: { n } }));
    const { position } = await server.commit("d", ops);
    const events = follow(t, "/v1/topics/table:d%2Fmany/events");

    const told = await events.until(({ event }) => event === "bookmark");

    assert.deepEqual(told.map(({ event }) => event), ["joined", "snapshot", "snapshot", "snapshot", "bookmark"]);
    assert.deepEqual(told.map(({ id }) => id), [undefined, undefined, undefined, undefined, position]);
    assert.equal(told.flatMap(({ payload }) => payload.rows ?? []).length, 600);
  });
});

describe("lines", () => {
  it("go on after since, and say who is present", async (t) => {
    const first = follow(t, "/v1/topics/kept:lines/events?key=ann");
    const [joined, state] = await first.until(({ event }) => event === "presence_state");
    await publish("kept:lines", 1);
    const said = (await first.until(({ event }) => event === "said")).at(-1);
    assert.deepEqual(said, { event: "said", payload: { n: 1 }, id: `${joined.payload.epoch}-1` });
    assert.deepEqual(Object.keys(state.payload), ["ann"]);
    first.end();
    await publish("kept:lines", 2);

    const back = follow(t, `/v1/topics/kept:lines/events?presence=false&since=${said.id}`);

    const told = await back.until(({ event }) => event === "said");
    assert.deepEqual([told[0].payload.recovered, told.at(-1).payload], [true, { n: 2 }]);
    await eventually("ann is gone", NEWS_MS, async () => {
      const { body } = await server.request("GET", "/v1/topics/kept:lines/presence");
      return body.count === 0;
    });
  });

  it("a topic that was not declared is refused by name", async () => {
    const answer = await fetch(`${server.url}/v1/topics/nobody/events`);
    assert.deepEqual([answer.status, (await answer.json()).code], [404, "unmatched_topic"]);
  });

  it("a drain ends them, with a time to come back", async (t) => {
    const other = await serve(t, CONFIG);
    const events = follow(t, "/v1/topics/room:drain/events", other.url);
    await events.until(({ event }) => event === "joined");
    const ended = events.until(({ event }) => event === "ended");
    await other.kill("SIGTERM");
    const { payload } = (await ended).at(-1);
    assert.equal(payload.reason, "draining");
    assert.ok(payload.retry_ms >= 1000);
  });
});

/** A reader of lines. */
function follow(t, path, url = server.url) {
  const abort = new AbortController();
  t.after(() => abort.abort());
  const lines = (async function* () {
    const headers = { accept: "application/x-ndjson" };
    const answer = await fetch(url + path, { headers, signal: abort.signal });
    assert.equal(answer.headers.get("content-type"), "application/x-ndjson");
    let text = "";
    for await (const bytes of answer.body.pipeThrough(new TextDecoderStream())) {
      text += bytes;
      const parts = text.split("\n");
      text = parts.pop();
      for (const line of parts) yield JSON.parse(line);
    }
  })();
  const until = async (matches) => {
    const told = [];
    for (;;) {
      const { value, done } = await within("a line", NEWS_MS, lines.next());
      assert.ok(!done, `the lines ended after ${JSON.stringify(told)}`);
      told.push(value);
      if (matches(value)) return told;
    }
  };
  return { until, end: () => abort.abort() };
}
