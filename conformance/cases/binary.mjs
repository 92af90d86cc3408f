// B: binary frames of version 2.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { isReply } from "../frames.mjs";

const BYTES = Uint8Array.from({ length: 256 }, (_, n) => n);
const NONE = new Uint8Array(0);

const sameBytes = (payload, bytes) => assert.deepEqual(Buffer.from(payload), Buffer.from(bytes));

/** Broadcasts bytes; answers what the listener heard. */
async function overheard(t, bytes, topic = t.topic()) {
  const event = t.name("binary-broadcast");
  const [speaker, listener] = await t.pair(topic);
  speaker.push(event, bytes);
  return listener.next(event);
}

export default [
  must("binary-push-reply", "B1", "A binary push is answered with its refs.", async (t) => {
    const event = t.name("binary-broadcast");
    const channel = await t.joined();
    const reply = await channel.ask(event, BYTES, { ref: "55" });
    assert.deepEqual([reply.join_ref, reply.ref, reply.topic], ["1", "55", channel.topic]);
  }),
  must("binary-unicode", "B1", "Lengths are bytes of UTF-8.", async (t) => {
    const topic = `${t.topic()}é😀`;
    const heard = await overheard(t, BYTES, topic);
    assert.equal(heard.topic, topic);
  }),
  must("binary-long-names", "B1", "Names of up to 255 bytes are read.", async (t) => {
    const start = t.topic();
    const topic = start + "t".repeat(255 - Buffer.byteLength(start));
    const channel = await t.joined(topic);
    const ref = "r".repeat(255);
    const reply = await channel.ask(t.name("binary-broadcast"), BYTES, { ref });
    assert.equal(reply.ref, ref);
  }),
  must("binary-push-to-one", "B2", "A push of bytes to one client has four bytes of header.", async (t) => {
    t.needs("binary-echo");
    const channel = await t.joined();
    await channel.ask(t.name("push"), BYTES);
    const pushed = await channel.next("pushed");
    assert.deepEqual([pushed.kind, pushed.join_ref], [0, "1"]);
    sameBytes(pushed.payload, BYTES);
  }),
  must("binary-reply", "B3", "A reply of bytes is of kind 1 with status and refs.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.ask(t.name("binary-echo"), BYTES, { ref: "6" });
    assert.deepEqual([reply.kind, reply.join_ref, reply.ref, reply.status], [1, "1", "6", "ok"]);
    sameBytes(reply.payload, BYTES);
  }),
  must("binary-broadcast", "B4", "A broadcast of bytes is of kind 2.", async (t) => {
    const heard = await overheard(t, BYTES);
    assert.deepEqual([heard.kind, heard.event], [2, t.options["binary-broadcast"]]);
    sameBytes(heard.payload, BYTES);
  }),
  must("binary-empty", "B4", "No bytes are a payload, too.", async (t) => {
    sameBytes((await overheard(t, NONE)).payload, NONE);
  }),
  must("binary-large", "B4", "48 KiB of bytes are broadcast whole.", async (t) => {
    const bytes = Buffer.alloc(48 * 1024, BYTES);
    sameBytes((await overheard(t, bytes)).payload, bytes);
  }),
  must("binary-unjoined", "B5", "A binary push to what is not joined is unmatched.", async (t) => {
    t.needs("binary-broadcast");
    const socket = await t.connect();
    const reply = await socket.ask(t.topic(), "anything", BYTES, { join_ref: "1" });
    const unmatched = { status: "error", response: { reason: "unmatched topic" } };
    assert.deepEqual(reply.payload, unmatched);
  }),
  must("binary-stale", "B5", "A binary push with a stale join_ref is dropped.", async (t) => {
    const event = t.name("binary-broadcast");
    const channel = await t.joined();
    const { socket, topic } = channel;
    socket.send({ join_ref: "0", ref: "8", topic, event, payload: BYTES });
    await channel.ask(event, BYTES);
    await socket.beat();
    assert.deepEqual(socket.untaken(isReply("8")), []);
  }),
  should("binary-empty-join-ref", "B5", "An empty join_ref is not null, hence stale.", async (t) => {
    const event = t.name("binary-broadcast");
    const channel = await t.joined();
    const { socket, topic } = channel;
    socket.send({ join_ref: "", ref: "8", topic, event, payload: BYTES });
    await channel.ask(event, BYTES);
    await socket.beat();
    assert.deepEqual(socket.untaken(isReply("8")), []);
  }),
  must("binary-order", "B5", "Text and binary from one client keep their order.", async (t) => {
    const [text, binary] = [t.name("broadcast"), t.name("binary-broadcast")];
    const [speaker, listener] = await t.pair();
    for (let n = 0; n < 100; n++) {
      if (n % 2) speaker.push(binary, Uint8Array.of(n), null);
      else speaker.push(text, { n }, null);
    }
    const isOfTopic = ({ topic, event }) => topic === listener.topic && event !== "phx_reply";
    const order = [];
    for (let n = 0; n < 100; n++) {
      const { payload } = await listener.socket.next("100 broadcasts", isOfTopic);
      order.push(payload.n ?? payload[0]);
    }
    assert.deepEqual(order, order.toSorted((a, b) => a - b));
  }),
  should("binary-heartbeat", "B5", "A heartbeat in a binary frame is answered.", async (t) => {
    t.needs("binary-broadcast");
    const reply = await (await t.connect()).ask("phoenix", "heartbeat", NONE);
    assert.equal(reply.payload.status, "ok");
  }),
  should("binary-version-one", "B6", "A member of version 1 survives bytes on its topic.", async (t) => {
    const [binary, text] = [t.name("binary-broadcast"), t.name("broadcast")];
    const speaker = await t.joined();
    const old = await t.joined(speaker.topic, { vsn: "1.0.0" });
    speaker.push(binary, BYTES);
    speaker.push(text, { after: true });
    const isAfter = ({ event, payload }) => event === text && payload.after;
    await old.socket.next("the text behind the bytes", isAfter);
  }),
];
