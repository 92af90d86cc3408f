// Whatever a server answers, a client with the face of phoenix.js comes back, and has lost nothing.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";

import WebSocket from "ws";

import { CLIENTS, Follower, answer, connect } from "./clients.mjs";
import { freePorts, nginx } from "./proxies.mjs";
import { serve } from "./start.mjs";
import { ENDINGS, LIVE, REFUSALS, put, refused, surroundings } from "./troubles.mjs";
import { eventually, within } from "./wait.mjs";

const NEWS_MS = 20_000;

const OVER_WEBSOCKET = CLIENTS.filter(({ longPoll }) => !longPoll);
const OVER_LONGPOLL = CLIENTS.filter(({ longPoll }) => longPoll);

for (const refusal of REFUSALS) {
  it(`${refusal.name}: every client is back by itself, and nothing is lost`, async (t) => {
    const around = await surroundings(t, refusal, CLIENTS.length);
    const { server, betweens } = around;
    const followers = await followedBy(t, betweens, CLIENTS);
    await put(server, "before");
    await all(followers, "before");

    const end = await refused(around, refusal);
    const meanwhile = put(server, "meanwhile");
    await end();
    await meanwhile;
    await put(server, "after");

    await all(followers, "before", "meanwhile", "after");
  });
}

for (const ending of ENDINGS) {
  it(`${ending.name}: every client is back by itself, and nothing is lost`, async (t) => {
    const around = await surroundings(t, ending, CLIENTS.length);
    const { server, betweens } = around;
    const followers = await followedBy(t, betweens, CLIENTS);
    await put(server, "before");
    await all(followers, "before");

    await ending.end(around);
    await put(server, "after");

    await eventually("every client is back", NEWS_MS, () => followers.every(({ replies }) => replies.length > 1));
    await all(followers, "before", "after");
  });
}

/** What a client does that a socket is closed for, and the code that it is told. */
const OFFENCES = [
  {
    code: 1008,
    why: "messages that do not read",
    commit: ({ conn }) => Array.from({ length: 20 }, () => conn.send("no message")),
  },
  {
    code: 1009,
    why: "a message that is too large",
    commit: ({ conn }) => conn.send("x".repeat(2 * 1024 * 1024)),
  },
  {
    code: 1007,
    why: "text that is no UTF-8",
    commit: ({ conn }) => conn.send(Buffer.from([0xff, 0xfe]), { binary: false }),
  },
  {
    code: 1012,
    why: "silence",
    config: "socket_idle_ms = 400\n",
    commit: () => {},
  },
  {
    code: 1013,
    why: "a message that is not finished while too many others are not",
    config: "shards = 1\n",
    commit: ({ conn }) => conn._socket.write(unfinished(64 * 1024)),
    andThen: crowd,
  },
];

describe("what closes one socket", () => {
  for (const { code, why, config = "", commit, andThen } of OFFENCES) {
    it(`${code} for ${why}: every client is back by itself, and nothing is lost`, async (t) => {
      const told = { config: config + LIVE };
      const { server, betweens } = await surroundings(t, told, OVER_WEBSOCKET.length);
      const followers = await followedBy(t, betweens, OVER_WEBSOCKET);
      await put(server, "before");
      await all(followers, "before");

      for (const { socket } of followers) commit(socket);
      await andThen?.(t, server);
      for (const { codes, name } of followers) {
        await eventually(`${name} is told ${code}`, NEWS_MS, () => codes.includes(code));
      }
      await put(server, "after");

      await all(followers, "before", "after");
    });
  }
});

describe("long-poll", () => {
  it("a body that is too large ends the session, and every client is back", async (t) => {
    const { server, betweens } = await surroundings(t, { config: LIVE }, OVER_LONGPOLL.length);
    const followers = await followedBy(t, betweens, OVER_LONGPOLL);
    await put(server, "before");
    await all(followers, "before");

    for (const { channel } of followers) channel.push("said", { text: "x".repeat(3 * 1024 * 1024) });
    await eventually("every client is back", NEWS_MS, () => followers.every(({ replies }) => replies.length > 1));
    await put(server, "after");

    await all(followers, "before", "after");
  });

  it("a poll that a proxy repeats at another server begins anew there", async (t) => {
    t.mock.method(console, "log", () => {});
    const servers = [await serve(t, LIVE), await serve(t, LIVE)];
    const [port] = await freePorts(1);
    const [one, other] = servers.map(({ url }) => new URL(url).host);
    await nginx(
      t,
      `upstream both { server ${one} max_fails=1 fail_timeout=60s; server ${other} backup; }
       server { listen 127.0.0.1:${port}; location / { proxy_pass http://both; } }`,
      port,
    );
    const members = [];
    for (const client of OVER_LONGPOLL) {
      const member = { name: client.name, heard: [] };
      const socket = await connect(t, { socketUrl: `ws://127.0.0.1:${port}/socket` }, client);
      const channel = socket.channel("room:moved", {});
      channel.on("said", ({ n }) => member.heard.push(n));
      assert.equal((await answer(channel.join())).status, "ok", client.name);
      members.push(member);
    }

    await servers[0].kill();

    // As soon as all clients have joined there, all get the message.
    const topic = "/v1/topics/room:moved";
    await eventually("all have come", NEWS_MS, async () => {
      const { body } = await servers[1].request("GET", topic);
      return body.subscribers === members.length;
    });
    await servers[1].must("POST", topic, { event: "said", payload: { n: 1 } });
    for (const { name, heard } of members) {
      await eventually(`${name} hears it`, NEWS_MS, () => heard.length > 0);
    }
  });
});

describe("a refusal that is final", () => {
  it("costs the other channels of its socket nothing, and ends with its reason", async (t) => {
    const { server, betweens } = await surroundings(t, { config: LIVE }, CLIENTS.length);
    const followers = await followedBy(t, betweens, CLIENTS);
    await server.createPublicTable("d", "large");
    // One row more than 16 MiB of them.
    const row = { text: "x".repeat(250_000) };
    for (let n = 0; n < 70; n += 2) {
      const ops = [n, n + 1].map((key) => ({ op: "put", table: "large", key: `k${key}`, row }));
      await server.commit("d", ops);
    }

    for (const { socket, name } of followers) {
      for (const [topic, reason] of [["nobody:knows", "unmatched topic"], ["table:d/large", "too_large"]]) {
        const channel = socket.channel(topic, {});
        const { status, response } = await answer(channel.join());
        assert.deepEqual([status, response.reason], ["error", reason], name);
        channel.leave();
      }
    }
    await put(server, "after");

    await all(followers, "after");
    for (const { replies, name } of followers) assert.equal(replies.length, 1, `${name} was disturbed`);
  });
});

/** One follower of the table for each client, behind what stands between. */
async function followedBy(t, betweens, clients) {
  const followers = [];
  for (const [at, client] of clients.entries()) {
    const socket = await connect(t, betweens[at], client);
    const codes = [];
    socket.onClose(({ code }) => codes.push(code));
    const follower = new Follower(socket, "table:d/t", () => ({ since: follower.position }));
    Object.assign(follower, { socket, codes, name: client.name });
    await follower.join();
    followers.push(follower);
  }
  return followers;
}

/** Every client has exactly these rows, and was given each once. */
async function all(followers, ...keys) {
  const rows = Object.fromEntries(keys.map((key) => [key, { key }]));
  for (const follower of followers) {
    await follower.becomes(rows).catch((late) => {
      throw new Error(`${follower.name}: ${late.message}`);
    });
    const { positions, replies, name } = follower;
    assert.deepEqual(positions, [...new Set(positions)].sort(), `${name} heard something twice`);
    for (const { mode } of replies.slice(1)) assert.equal(mode, "resume", name);
  }
}

/** The beginning of a text frame of a million bytes, masked with zeros, of which so many are there. */
function unfinished(bytes) {
  const head = Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0]);
  return Buffer.concat([head, Buffer.alloc(bytes, "x")]);
}

/** More that is not finished than all together may have: who holds a message the longest goes. */
async function crowd(t, server) {
  for (let n = 0; n < 80; n++) {
    const socket = new WebSocket(`${server.socketUrl}/websocket?vsn=2.0.0`);
    socket.on("error", () => {});
    t.after(() => socket.terminate());
    await once(socket, "open");
    await new Promise((written) => socket._socket.write(unfinished(1_000_000 - 1), written));
  }
}
