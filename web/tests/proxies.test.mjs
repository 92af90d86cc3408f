// Behind nginx and haproxy, with what they do by themselves and with what proxies.md says.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { after, describe, it } from "node:test";

import WebSocket from "ws";

import { openBrowser } from "./browser.mjs";
import { CLIENTS, Follower, answer, connect } from "./clients.mjs";
import { documented, freePorts, haproxy, nginx } from "./proxies.mjs";
import { Page, Source } from "./sources.mjs";
import { BINARY, serve } from "./start.mjs";
import { eventually, within } from "./wait.mjs";

const NEWS_MS = 20_000;

const LIVE = `
[[live]]
topic = "room:*"
anyone_publishes = true
history = 1000
`;
/** What a server says that is behind a proxy of ours. */
const TRUSTING = `
proxies = ["127.0.0.1"]
names = ["shop.example"]
`;

const FRONTS = [
  {
    name: "nginx with a proxy_pass and nothing else",
    start: (t, to, port) =>
      nginx(t, `server { listen 127.0.0.1:${port}; location / { proxy_pass http://${to}; } }`, port),
    // It passes no upgrade on, and says its own name.
    upgrades: false,
    namesHost: false,
  },
  { name: "nginx as documented", start: documentedNginx(), upgrades: true, namesHost: true },
  {
    name: "haproxy in mode http and nothing else",
    start: (t, to, port) =>
      haproxy(
        t,
        `
defaults
    mode http
frontend web
    bind 127.0.0.1:${port}
    default_backend instep
backend instep
    server one ${to}`,
        port,
      ),
    upgrades: true,
    namesHost: true,
  },
  { name: "haproxy as documented", start: documentedHaproxy(), upgrades: true, namesHost: true },
];
const DOCUMENTED = FRONTS.filter(({ name }) => name.endsWith("as documented"));

const NEWEST = CLIENTS.filter(({ name }) => name.startsWith("phoenix 1.8"));
const [OVER_WEBSOCKET, OVER_LONGPOLL] = [false, true].map((longPoll) =>
  NEWEST.find((client) => client.longPoll === longPoll),
);

/** nginx with the block of the page, in which `change` may change words. */
function documentedNginx(change = (text) => text) {
  return async (t, to, port) => {
    const shown = { "127.0.0.1:4000": to, "listen 8080": `listen 127.0.0.1:${port}` };
    await nginx(t, change(await documented("nginx", shown)), port);
  };
}

function documentedHaproxy(change = (text) => text) {
  return async (t, to, port, tcp, tcpFront) => {
    if (!tcp) [tcp, tcpFront] = await freePorts(2);
    const shown = {
      "127.0.0.1:4000": to,
      "127.0.0.1:4001": `127.0.0.1:${tcp}`,
      ":8080": `127.0.0.1:${port}`,
      ":8081": `127.0.0.1:${tcpFront}`,
    };
    await haproxy(t, change(await documented("haproxy", shown)), port);
  };
}

/** A server with this proxy before it: `{server, url, socketUrl}`. */
async function stand(t, { start }, config = LIVE) {
  const server = await serve(t, config);
  const [port] = await freePorts(1);
  await start(t, new URL(server.url).host, port);
  const host = `127.0.0.1:${port}`;
  return { server, port, url: `http://${host}`, socketUrl: `ws://${host}/socket` };
}

const browser = await openBrowser({ after });

for (const front of FRONTS) {
  const clients = front.upgrades ? NEWEST : [OVER_LONGPOLL];
  const config = DOCUMENTED.includes(front) ? TRUSTING + LIVE : LIVE;
  const stood = await stand({ after }, front, config);
  await stood.server.createPublicTable("d", "t");
  describe(front.name, () => {
    const publish = (topic, n) =>
      stood.server.must("POST", `/v1/topics/${topic}`, { event: "said", payload: { n } });

    it("a commit passes, and its rows come back", async () => {
      const { server, url } = stood;
      const headers = { ...(await server.authorization()), "content-type": "application/json" };
      const body = JSON.stringify({ ops: [{ op: "put", table: "t", key: "first", row: { n: 0.1 } }] });

      const answer = await fetch(`${url}/v1/datasets/d/commits`, { method: "POST", headers, body });

      assert.equal(answer.status, 200);
      const rows = await fetch(`${url}/v1/datasets/d/tables/t/rows`).then((rows) => rows.json());
      assert.deepEqual(rows.rows.map(({ key, row }) => [key, row]), [["first", { n: 0.1 }]]);
    });

    it("what is streamed arrives at once, while the answer goes on", async (t) => {
      const { server, url } = stood;
      const source = new Source(t, `${url}/v1/topics/room:now/events`, "joined", "said");
      const told = await lines(t, `${url}/v1/topics/room:now/events`);
      const headers = await server.authorization();
      const changes = await lines(t, `${url}/v1/datasets/d/changes?follow=true`, headers);
      await told.until(({ event }) => event === "joined");
      await eventually("joined", NEWS_MS, () => source.all("joined").length === 1);

      for (const n of [1, 2]) {
        await publish("room:now", n);
        await eventually("an event", NEWS_MS, () => source.all("said").at(-1)?.data.n === n);
        await told.until(({ payload }) => payload?.n === n);
        const { position } = await server.commit("d", [{ op: "put", table: "t", key: "now", row: { n } }]);
        await changes.until((line) => line.position === position);
      }
    });

    for (const client of clients) {
      it(`${client.name}: joins, a table of 600 rows too, pushes and hears`, async (t) => {
        const { server } = stood;
        const table = client.longPoll ? "polled" : "pushed";
        await server.createPublicTable("d", table);
        const rows = Array.from({ length: 600 }, (_, n) => [`k${n}`, { n }]);
        await server.commit("d", rows.map(([key, row]) => ({ op: "put", table, key, row })));
        const socket = await connect(t, stood, client);
        const follower = new Follower(socket, `table:d/${table}`);
        await follower.join();
        await follower.becomes(Object.fromEntries(rows));
        const room = socket.channel(`room:${table}`, {});
        const heard = new Promise((resolve) => room.on("said", resolve));
        assert.equal((await answer(room.join())).status, "ok");

        assert.equal((await answer(room.push("said", { text: "é😀" }))).status, "ok");

        assert.deepEqual(await within("what was said", NEWS_MS, heard), { text: "é😀" });
        assert.equal((await answer(room.leave())).status, "ok");
      });
    }

    if (!front.upgrades) {
      it("a phoenix.js that may fall back to long-poll does", async (t) => {
        const stored = new Map();
        const sessionStorage = { getItem: (key) => stored.get(key), setItem: (key, value) => stored.set(key, value) };
        const { Socket, transport } = OVER_WEBSOCKET;
        const socket = new Socket(stood.socketUrl, { transport, longPollFallbackMs: 500, sessionStorage });
        t.after(() => socket.disconnect());
        socket.connect();

        const { status } = await answer(socket.channel("room:fallen", {}).join());

        assert.equal(status, "ok");
      });
    }

    it("a server that is killed behind it comes back to all clients, and nothing is lost", async (t) => {
      mute(t);
      const { server, url } = stood;
      await server.createPublicTable("d", "kept");
      const put = (key) => server.commit("d", [{ op: "put", table: "kept", key, row: { key } }]);
      const followers = [];
      for (const client of clients) {
        const socket = await connect(t, stood, client);
        const follower = new Follower(socket, "table:d/kept", () => ({ since: follower.position }));
        await follower.join();
        followers.push(follower);
      }
      const page = await Page.open(browser, url, "table:d/kept", "row");
      t.after(() => page.close());
      const command = await changes(t, stood, "d");
      await eventually("the page is open", NEWS_MS, () => page.isOpen());
      await put("before");
      await command.until((line) => line.includes('"before"'));
      await eventually("a row", NEWS_MS, async () => (await page.shown()).length === 1);

      await server.kill();
      // The proxy has answered by itself, and the browser has given that source up.
      await eventually("it gave up", NEWS_MS, async () => (await page.sources()) > 1);
      const gone = await fetch(`${url}/v1/datasets/d/tables/kept/rows`);
      assert.ok([502, 503].includes(gone.status), `${gone.status}`);
      await server.start();
      await put("after");

      await eventually("the page's rest", NEWS_MS, async () => (await page.shown()).length >= 2);
      assert.deepEqual((await page.shown()).map(({ key }) => key), ["before", "after"]);
      await command.until((line) => line.includes('"after"'));
      for (const follower of followers) {
        await follower.becomes({ before: { key: "before" }, after: { key: "after" } });
        assert.equal(follower.replies.at(-1).mode, "resume");
      }
    });

    if (front.namesHost) {
      it("a name that is none of the server's is refused, and one of its own is not", async () => {
        const { port } = stood;
        const status = async (host) => (await ask({ port, host, path: "/v1/datasets/d/tables/t/rows" })).status;

        assert.equal(await status("elsewhere.example"), 421);
        assert.equal(await status(`127.0.0.1:${port}`), 200);
        if (DOCUMENTED.includes(front)) assert.equal(await status("shop.example"), 200);
      });
    }
  });
}

for (const front of DOCUMENTED) {
  describe(`${front.name}, and who is behind it`, () => {
    it("a connection is known by its client's address, whatever that says of itself", async (t) => {
      const stood = await stand(t, front, TRUSTING + LIVE);
      const headers = { "x-forwarded-for": "203.0.113.9" };
      await open(t, stood, "127.0.0.2", headers);
      await ask({ port: stood.port, from: "127.0.0.3", path: "/socket/longpoll?vsn=2.0.0", headers });

      const { connections } = await stood.server.must("GET", "/v1/connections");

      const known = connections.map(({ door, peer }) => [door, new URL(`tcp://${peer}`).hostname]);
      assert.deepEqual(known.toSorted(), [["longpoll", "127.0.0.3"], ["websocket", "127.0.0.2"]]);
    });

    it("wrong keys count for who showed them", async (t) => {
      const limits = "[rate]\nfailures = 1\nfailures_burst = 3\n";
      const { port } = await stand(t, front, TRUSTING + LIVE + limits);
      const guess = (from) =>
        ask({ port, from, path: "/v1/datasets", headers: { authorization: "Bearer wrong" } });

      const guesses = [];
      for (let n = 0; n < 6; n++) guesses.push((await guess("127.0.0.2")).status);

      assert.deepEqual([guesses[0], guesses.at(-1)], [403, 429]);
      assert.equal((await guess("127.0.0.3")).status, 403);
    });

    it("requests count for who made them, on whatever connections", async (t) => {
      const limits = "[rate]\nrequests = 1\nrequests_burst = 5\n";
      const { port } = await stand(t, front, TRUSTING + LIVE + limits);
      const asks = (from) => ask({ port, from, path: "/v1/topics/room:a" });

      const answers = await Promise.all(Array.from({ length: 20 }, () => asks("127.0.0.2")));

      const refused = answers.filter(({ status }) => status === 429);
      assert.ok(refused.length >= 10, `${refused.length} of 20 were refused`);
      assert.ok(refused.every(({ headers }) => Number(headers["retry-after"]) >= 1));
      assert.notEqual((await asks("127.0.0.3")).status, 429);
    });

    it("sockets count for who opened them", async (t) => {
      const stood = await stand(t, front, `${TRUSTING}sockets_per_address = 2\n${LIVE}`);
      const refused = async (from) => {
        const socket = connection(stood, from);
        // It is not opened any more.
        socket.on("error", () => {});
        t.after(() => socket.terminate());
        const [, response] = await once(socket, "unexpected-response");
        return response.statusCode;
      };

      await open(t, stood, "127.0.0.2");
      await open(t, stood, "127.0.0.2");

      assert.equal(await refused("127.0.0.2"), 429);
      await open(t, stood, "127.0.0.3");
    });

    it("a connection that the server has closed meanwhile costs no request", async (t) => {
      const stood = await stand(t, front, `${TRUSTING}socket_idle_ms = 300\n${LIVE}`);
      const { server, url } = stood;
      await server.createPublicTable("d", "t");
      const headers = { ...(await server.authorization()), "content-type": "application/json" };
      const body = JSON.stringify({ ops: [{ op: "put", table: "t", key: "k", row: {} }] });
      const statuses = [];

      for (let n = 0; n < 4; n++) {
        const answer = await fetch(`${url}/v1/datasets/d/commits`, { method: "POST", headers, body });
        statuses.push(answer.status);
        // The silence itself is what is tried.
        await sleep(450);
      }

      assert.deepEqual(statuses, [200, 200, 200, 200]);
    });
  });
}

const IMPATIENT = [
  ["nginx", documentedNginx((text) => text.replace("90s", "1s"))],
  ["haproxy", documentedHaproxy((text) => text.replaceAll(/(client|server) +90s|tunnel +1h/g, shorter))],
];

function shorter(time) {
  return time.replace(/\d+[sh]/, "1s");
}

for (const [name, start] of IMPATIENT) {
  it(`${name} whose time-outs are shorter than any silence loses nothing`, async (t) => {
    mute(t);
    const stood = await stand(t, { start }, TRUSTING + LIVE);
    const topic = `room:${name}`;
    const heard = [];
    for (const client of NEWEST) {
      const numbers = [];
      let place;
      const channel = (await connect(t, stood, client)).channel(topic, () => ({ since: place }));
      channel.on("said", ({ n }) => {
        place.offset += 1;
        numbers.push(n);
      });
      const joins = [];
      const push = channel.join().receive("ok", ({ epoch, offset }) => {
        place = { epoch, offset };
        joins.push(offset);
      });
      assert.equal((await answer(push)).status, "ok");
      heard.push({ name: client.name, numbers, times: () => joins.length });
    }
    const source = new Source(t, `${stood.url}/v1/topics/${topic}/events`, "joined", "said");
    await eventually("joined", NEWS_MS, () => source.all("joined").length === 1);
    heard.push({
      name: "eventsource",
      get numbers() {
        return source.all("said").map(({ data }) => data.n);
      },
      times: () => source.all("joined").length,
    });
    const say = (n) =>
      stood.server.must("POST", `/v1/topics/${topic}`, { event: "said", payload: { n } });

    for (const n of [1, 2, 3]) {
      // Every client was cut and is back, or is about to be.
      await eventually(`cut ${n} times`, NEWS_MS, () => heard.every(({ times }) => times() >= n));
      await say(n);
    }

    for (const one of heard) {
      await eventually(`${one.name} hears the last`, NEWS_MS, () => one.numbers.at(-1) === 3);
      assert.deepEqual(one.numbers, [1, 2, 3], one.name);
    }
  });
}

describe("messages over plain TCP behind haproxy", () => {
  const header = { v2: (text) => text, v1: (text) => text.replace("send-proxy-v2", "send-proxy") };
  for (const [version, change] of Object.entries(header)) {
    it(`a client is known by the address in the PROXY header, ${version}`, async (t) => {
      const [tcp, tcpFront, port] = await freePorts(3);
      const config = `tcp = "127.0.0.1:${tcp}"\nproxy_protocol = ["tcp"]\n${TRUSTING}${LIVE}`;
      const server = await serve(t, config);
      await documentedHaproxy(change)(t, new URL(server.url).host, port, tcp, tcpFront);
      const socket = net.connect({ port: tcpFront, host: "127.0.0.1", localAddress: "127.0.0.2" });
      t.after(() => socket.destroy());
      await once(socket, "connect");

      const join = JSON.stringify(["1", "1", "room:tcp", "phx_join", {}]);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(join));
      socket.write(Buffer.concat([length, Buffer.from(join)]));
      const [bytes] = await within("the reply", NEWS_MS, once(socket, "data"));

      assert.equal(JSON.parse(bytes.subarray(4))[4].status, "ok");
      const { connections } = await server.must("GET", "/v1/connections");
      const known = connections.map(({ door, peer }) => [door, peer]);
      assert.deepEqual(known, [["tcp", `127.0.0.2:${socket.localPort}`]]);
    });
  }
});

/** Clients say on the console that a proxy's page is no JSON. */
function mute(t) {
  t.mock.method(console, "log", () => {});
}

/** A request from an address of this machine, on a connection of its own. */
function ask({ port, host, from, path, headers = {} }) {
  return new Promise((resolve, reject) => {
    const named = host ? { ...headers, host } : headers;
    const options = { port, host: "127.0.0.1", localAddress: from, path, headers: named, agent: false };
    const request = http.get(options, (response) => {
      response.resume();
      resolve({ status: response.statusCode, headers: response.headers });
    });
    request.on("error", reject);
  });
}

const connection = (stood, from, headers = {}) =>
  new WebSocket(`${stood.socketUrl}/websocket?vsn=2.0.0`, { localAddress: from, headers });

/** A socket from an address of this machine, open until the test ends. */
async function open(t, stood, from, headers) {
  const socket = connection(stood, from, headers);
  t.after(() => socket.terminate());
  await once(socket, "open");
  return socket;
}

/** Reads an answer line by line, as JSON. */
async function lines(t, url, headers = {}) {
  const abort = new AbortController();
  t.after(() => abort.abort());
  const accept = "application/x-ndjson";
  const answer = await fetch(url, { headers: { accept, ...headers }, signal: abort.signal });
  assert.equal(answer.status, 200);
  const read = reading(answer.body.pipeThrough(new TextDecoderStream()));
  return { until: (matches) => until(read, (line) => matches(JSON.parse(line))) };
}

async function* reading(texts) {
  let text = "";
  for await (const more of texts) {
    const parts = (text + more).split("\n");
    text = parts.pop();
    yield* parts;
  }
}

/** Reads on until a line matches. */
async function until(read, matches) {
  for (;;) {
    const { value, done } = await within("a line", NEWS_MS, read.next());
    assert.ok(!done, "the answer ended");
    if (matches(value)) return;
  }
}

/** `instep changes --follow`, through the proxy. */
async function changes(t, { url, server }, dataset) {
  const { authorization } = await server.authorization();
  const args = ["changes", dataset, "--follow", "--json", "--server", url];
  const env = { ...process.env, INSTEP_KEY: authorization.slice("Bearer ".length) };
  const child = spawn(BINARY, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const read = createInterface(child.stdout)[Symbol.asyncIterator]();
  return { until: (matches) => until(read, matches) };
}
