// What a page may rely on, driven through every Phoenix client we promise to serve.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";

import { CLIENTS, Follower, answer, connect, cut, frame, sendFrame } from "./clients.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const ANSWER_MS = 10_000;

const CONFIG = `
[[live]]
topic = "room:*"
anyone_publishes = true

[log]
segment_bytes = 65536
`;

const server = await serve({ after }, CONFIG);
let tables = 0;

for (const client of CLIENTS) {
  describe(client.name, () => {
    it("a heartbeat is answered by the socket itself", async (t) => {
      const socket = await connect(t, server, client);

      const ref = sendFrame(socket, "phoenix", "heartbeat", {}, null);

      const reply = await frame(socket, "a heartbeat reply", (f) => f.ref === ref);
      assert.equal(reply.topic, "phoenix");
      assert.deepEqual(reply.payload, { status: "ok", response: {} });
    });

    // Over long-poll the polls are the sign of life.
    if (!client.longPoll) {
      it("its own heartbeats are answered", async (t) => {
        const socket = await connect(t, server, client, { heartbeatIntervalMs: 50 });

        const isAnswered = ({ topic, payload }) => topic === "phoenix" && payload.status === "ok";
        await eventually("three beats", ANSWER_MS, () => socket.frames.filter(isAnswered).length >= 3);

        assert.ok(socket.isConnected());
      });
    }

    it("a topic that no pattern declares is refused by name", async (t) => {
      const socket = await connect(t, server, client);
      const channel = socket.channel("nobody:declared-this", {});

      const { status, response } = await answer(channel.join());

      assert.equal(status, "error");
      assert.equal(response.reason, "unmatched topic");
      channel.leave();
    });

    it("a join of a public table answers its rows and their position", async (t) => {
      const { topic, put } = await newTable();
      const { position } = await put("a", { n: 1 }, "b", { n: 2 });
      const socket = await connect(t, server, client);

      const reply = await new Follower(socket, topic).join();

      assert.equal(reply.mode, "snapshot");
      assert.equal(reply.position, position);
      assert.deepEqual(byKey(reply.rows), [
        { event: "row", payload: { key: "a", row: { n: 1 } } },
        { event: "row", payload: { key: "b", row: { n: 2 } } },
      ]);
    });

    it("a snapshot of many parts comes whole, and is gone on with after a kill", async (t) => {
      const { topic, put } = await newTable();
      const rows = Object.fromEntries(Array.from({ length: 600 }, (_, n) => [`k${n}`, { n }]));
      const { position } = await put(...Object.entries(rows).flat());
      const socket = await connect(t, server, client);
      const follower = new Follower(socket, topic, () => ({ since: follower.position }));

      assert.deepEqual((await follower.join()).pending, true);
      await follower.becomes(rows);
      await eventually("its place", ANSWER_MS, () => follower.position === position);
      await server.restart();
      await put("k0", { n: -1 });

      assert.equal((await follower.reply(2)).mode, "resume");
      await follower.becomes({ ...rows, k0: { n: -1 } });
    });

    it("a commit arrives as events of which the last has the position", async (t) => {
      const { topic, put, remove } = await newTable();
      const socket = await connect(t, server, client);
      const follower = new Follower(socket, topic);
      await follower.join();

      const first = await put("a", { n: 1 }, "b", { n: 2 });
      await follower.becomes({ a: { n: 1 }, b: { n: 2 } });
      const second = await remove("a");
      await follower.becomes({ b: { n: 2 } });

      assert.deepEqual(follower.positions.slice(-2), [first.position, second.position]);
    });

    it("after a leave nothing more arrives", async (t) => {
      const { topic, put } = await newTable();
      const leaver = new Follower(await connect(t, server, client), topic);
      const stayer = new Follower(await connect(t, server, client), topic);
      await leaver.join();
      await stayer.join();

      assert.equal((await answer(leaver.channel.leave())).status, "ok");
      await put("a", { n: 1 });

      await stayer.becomes({ a: { n: 1 } });
      assert.equal(leaver.rows.size, 0);
    });

    it("a second channel on a topic takes the place of the first", async (t) => {
      const { topic, put } = await newTable();
      const socket = await connect(t, server, client);
      const first = new Follower(socket, topic);
      await first.join();
      const second = new Follower(socket, topic);
      await second.join();

      await put("a", { n: 1 });

      await second.becomes({ a: { n: 1 } });
      assert.equal(first.rows.size, 0);
    });

    it("a duplicate join is answered before the old one is closed", async (t) => {
      const { topic } = await newTable();
      const socket = await connect(t, server, client);

      const old = sendFrame(socket, topic, "phx_join", {});
      await frame(socket, "the first reply", (f) => f.ref === old);
      const fresh = sendFrame(socket, topic, "phx_join", {});
      await frame(socket, "the old one's end", (f) => f.event === "phx_close");

      const heard = socket.frames.slice(-2).map((f) => [f.event, f.join_ref ?? f.ref]);
      assert.deepEqual(heard, [
        ["phx_reply", fresh],
        ["phx_close", old],
      ]);
    });

    it("what one client publishes on a live topic the other hears", async (t) => {
      const [from, to] = await meet(t, client, `room:${client.name}`);
      const heard = new Promise((resolve) => to.on("said", resolve));

      const { status } = await answer(from.push("said", { text: "hello" }));

      assert.equal(status, "ok");
      assert.deepEqual(await heard, { text: "hello" });
    });

    if (client.binary) {
      it("bytes are published as bytes", async (t) => {
        // Towards a client, long-poll has no binary, so a WebSocket listens.
        const listener = client.longPoll ? CLIENTS.find((other) => !other.longPoll) : client;
        const [from, to] = await meet(t, client, `room:bytes ${client.name}`, listener);
        const heard = new Promise((resolve) => to.on("bytes", resolve));

        const { status } = await answer(from.push("bytes", Uint8Array.of(0, 1, 0xff).buffer));

        assert.equal(status, "ok");
        assert.deepEqual(new Uint8Array(await heard), Uint8Array.of(0, 1, 0xff));
      });
    }

    it("a stale position in plain params is caught up at each rejoin", async (t) => {
      const { topic, put } = await newTable();
      const { position } = await put("a", { n: 1 });
      await put("b", { n: 2 });
      const socket = await connect(t, server, client);
      // The object goes out with every join, so this position only grows older.
      const follower = new Follower(socket, topic, { since: position });
      follower.rows.set("a", { n: 1 });

      assert.equal((await follower.join()).mode, "resume");
      await follower.becomes({ a: { n: 1 }, b: { n: 2 } });
      await server.restart();
      await put("c", { n: 3 });

      assert.equal((await follower.reply(2)).mode, "resume");
      await follower.becomes({ a: { n: 1 }, b: { n: 2 }, c: { n: 3 } });
    });

    it("a position from a closure resumes over two killed servers", async (t) => {
      const { topic, put } = await newTable();
      await put("a", { n: 1 });
      const socket = await connect(t, server, client);
      const follower = new Follower(socket, topic, () => ({ since: follower.position }));
      await follower.join();

      for (const n of [2, 3]) {
        await server.restart();
        await put("a", { n });
        assert.equal((await follower.reply(n)).mode, "resume");
        await follower.becomes({ a: { n } });
      }

      // Nothing came twice and nothing came late.
      assert.deepEqual(follower.positions, [...new Set(follower.positions)].sort());
    });

    // A long-poll has no connection to cut: its requests end by themselves.
    if (!client.longPoll) {
      it("a cut connection resumes where it was", async (t) => {
        const { topic, put } = await newTable();
        const socket = await connect(t, server, client);
        const follower = new Follower(socket, topic, () => ({ since: follower.position }));
        await follower.join();

        for (const n of [2, 3]) {
          cut(socket);
          await put("a", { n });
          assert.equal((await follower.reply(n)).mode, "resume");
          await follower.becomes({ a: { n } });
        }
      });
    }
  });
}

/** A fresh public table, and the ways to change it. */
async function newTable() {
  const table = `things-${++tables}`;
  // A node has no room for one dataset each.
  const dataset = `channels-${tables % 10}`;
  await server.createPublicTable(dataset, table);
  return {
    topic: `table:${dataset}/${table}`,
    put: (...pairs) => server.commit(dataset, puts(table, pairs)),
    remove: (key) => server.commit(dataset, [{ op: "delete", table, key }]),
  };
}

function puts(table, [key, row, ...rest]) {
  return [{ op: "put", table, key, row }, ...(rest.length > 0 ? puts(table, rest) : [])];
}

/** Two clients joined to one live topic, as `[speaker, listener]` channels. */
async function meet(t, client, topic, listener = client) {
  const channels = [];
  for (const kind of [client, listener]) {
    const channel = (await connect(t, server, kind)).channel(topic, {});
    assert.equal((await answer(channel.join())).status, "ok");
    channels.push(channel);
  }
  return channels;
}

function byKey(rows) {
  return rows.toSorted((a, b) => (a.payload.key < b.payload.key ? -1 : 1));
}
