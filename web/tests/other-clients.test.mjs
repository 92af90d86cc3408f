// Clients that are not Phoenix's own, as published: Supabase's for JavaScript and for Python.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

import { RealtimeClient } from "@supabase/realtime-js";
import WebSocket from "ws";

import { RawSocket } from "./raw-socket.mjs";
import { python } from "./python.mjs";
import { serve } from "./start.mjs";
import { within } from "./wait.mjs";

const ANSWER_MS = 10_000;

// They put `realtime:` before every topic.
const CONFIG = `
[[live]]
topic = "realtime:*"
anyone_publishes = true
`;

const server = await serve({ after }, CONFIG);

for (const vsn of ["1.0.0", "2.0.0"]) {
  describe(`@supabase/realtime-js, vsn ${vsn}`, () => {
    it("joins, and is told that it is subscribed", async (t) => {
      await subscribed(t, vsn, `joined ${vsn}`);
    });

    it("hears what another sends, with event and payload", async (t) => {
      const [speaker, listener] = await meet(t, vsn, `heard ${vsn}`);
      const heard = next(listener, "said");

      assert.equal(await speaker.send(said({ text: "é😀", list: [1, null] })), "ok");

      const { type, event, payload } = await within("a broadcast", ANSWER_MS, heard);
      assert.deepEqual([type, event, payload], ["broadcast", "said", { text: "é😀", list: [1, null] }]);
    });

    it("keeps the order of a hundred broadcasts", async (t) => {
      const [speaker, listener] = await meet(t, vsn, `order ${vsn}`);
      const numbers = [];
      const all = new Promise((resolve) => {
        listener.on("broadcast", { event: "said" }, ({ payload }) => {
          if (numbers.push(payload.n) === 100) resolve();
        });
      });

      for (let n = 0; n < 100; n++) await speaker.send(said({ n }));

      await within("a hundred broadcasts", ANSWER_MS, all);
      assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n));
    });

    it("is heard by a client of plain Channels", async (t) => {
      const topic = `plain ${vsn}`;
      const raw = await RawSocket.open(t, server);
      await raw.join(`realtime:${topic}`);
      const speaker = await subscribed(t, vsn, topic);

      await speaker.send(said({ n: 1 }));

      const [, , , , payload] = await raw.next("a broadcast", ([, , , event]) => event === "broadcast");
      assert.deepEqual(payload, { type: "broadcast", event: "said", payload: { n: 1 } });
    });

    if (vsn === "2.0.0") {
      it("sends bytes and hears bytes, and so do clients of plain Channels", async (t) => {
        const topic = `bytes ${vsn}`;
        const [speaker, listener] = await meet(t, vsn, topic);
        const raw = await RawSocket.open(t, server);
        await raw.join(`realtime:${topic}`);
        const [heard, answered] = [next(listener, "said"), next(listener, "answered")];
        const plain = raw.next("a broadcast of bytes", Buffer.isBuffer);

        assert.equal(await speaker.send(said(Uint8Array.of(0, 255, 7).buffer)), "ok");
        const { type, event, payload } = await within("bytes", ANSWER_MS, heard);
        assert.deepEqual([type, event, [...new Uint8Array(payload)]], ["broadcast", "said", [0, 255, 7]]);
        assert.deepEqual(await plain, broadcast(`realtime:${topic}`, "said", [0, 255, 7]));

        // What a client of plain Channels pushes as bytes reaches it, too.
        await raw.askBinary(`realtime:${topic}`, "answered", Buffer.of(1, 2));
        const answer = await within("bytes of another client", ANSWER_MS, answered);
        assert.deepEqual([...new Uint8Array(answer.payload)], [1, 2]);
      });
    }

    it("leaves, and may come back", async (t) => {
      const client = connect(t, vsn);
      const first = await subscribe(client.channel(`left ${vsn}`));
      assert.equal(await first.unsubscribe(), "ok");

      await subscribe(client.channel(`left ${vsn}`));
    });
  });
}

describe("realtime for Python", () => {
  it("joins, sends and hears, in order", async () => {
    const script = fileURLToPath(new URL("realtime_client.py", import.meta.url));
    const { code, output } = await python("python", [script, server.socketUrl, "snake", "50"], 60_000);
    assert.equal(code, 0, output);
    assert.deepEqual(JSON.parse(output.trim().split("\n").at(-1)), Array.from({ length: 50 }, (_, n) => n));
  });
});

/** A broadcast of bytes as clients of plain Channels get it: kind 2, two lengths, the names, the bytes. */
const broadcast = (topic, event, bytes) =>
  Buffer.concat([Buffer.of(2, topic.length, event.length), Buffer.from(topic + event), Buffer.from(bytes)]);

const said = (payload) => ({ type: "broadcast", event: "said", payload });

function connect(t, vsn) {
  const client = new RealtimeClient(server.socketUrl, {
    params: { apikey: "anybody" },
    transport: WebSocket,
    timeout: ANSWER_MS,
    vsn,
  });
  t.after(() => client.disconnect());
  return client;
}

/** Subscribes; the channel, once it is told so. */
function subscribe(channel) {
  const told = new Promise((resolve, reject) => {
    channel.subscribe((status, error) => {
      if (status === "SUBSCRIBED") resolve(channel);
      else if (status !== "CLOSED") reject(error ?? new Error(status));
    });
  });
  return within("SUBSCRIBED", ANSWER_MS, told);
}

function subscribed(t, vsn, topic) {
  const channel = connect(t, vsn).channel(topic, { config: { broadcast: { ack: true } } });
  return subscribe(channel);
}

const meet = (t, vsn, topic) => Promise.all([subscribed(t, vsn, topic), subscribed(t, vsn, topic)]);

const next = (channel, event) =>
  new Promise((resolve) => channel.on("broadcast", { event }, resolve));
