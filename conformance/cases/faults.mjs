// F: what no client should send, and what it may cost.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { encodePush } from "../frames.mjs";

const nested = (depth) => `["1","1","t","e",{"a":${"[".repeat(depth)}${"]".repeat(depth)}}]`;

/** What may come over a wire, by name: text is sent as text, bytes as binary. */
const FAULTS = {
  "not-json": "hello",
  empty: "",
  cut: '["1","1","t","e",{"a":',
  object: '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}',
  "four-elements": '["1","1","t","e"]',
  number: "7",
  "topic-number": '["1","1",2,"e",{}]',
  "topic-null": '[null,"1",null,"heartbeat",{}]',
  "event-object": '["1","1","t",{},{}]',
  "ref-object": '["1",{},"t","e",{}]',
  deep: nested(20_000),
  "binary-empty": new Uint8Array(0),
  "binary-cut": Uint8Array.of(0, 9, 9, 9, 9, 1),
  "binary-header": Uint8Array.of(0, 1),
  "binary-kind-1": encodePush({ join_ref: "1", ref: "1", topic: "t", event: "ok", payload: [] }, 1),
  "binary-kind-9": encodePush({ join_ref: "1", ref: "1", topic: "t", event: "e", payload: [] }, 9),
  "binary-not-utf8": Uint8Array.of(0, 1, 1, 1, 1, 0x31, 0x31, 0xff, 0xfe, 1),
};

/** Payloads that are no objects, on a joined topic. */
const PAYLOADS = {
  "payload-null": "null",
  "payload-array": "[]",
  "payload-text": `"a"`,
  "payload-number": "1",
};

/** Sends a fault; sees that another connection lives; answers whether this one does. */
async function survives(t, channel, raw) {
  const other = await t.joined(channel.topic);
  const { socket } = channel;
  socket.sendRaw(raw);
  const lives = await Promise.race([socket.beat().then(() => true), socket.closed.then(() => false)]).catch(
    () => false,
  );
  if (!lives) assert.notEqual((await socket.closed).code, 1000);
  assert.equal((await other.ask(t.answered)).payload.status, "ok");
  await t.joined();
  return lives;
}

const raw = (fault, topic) =>
  fault in PAYLOADS ? `["1","8",${JSON.stringify(topic)},"e",${PAYLOADS[fault]}]` : FAULTS[fault];

const names = [...Object.keys(FAULTS), ...Object.keys(PAYLOADS)];

const costsOthersNothing = names.map((fault) =>
  must(`fault-${fault}`, "F1", `A fault (${fault}) costs others nothing.`, async (t) => {
    const channel = await t.joined();
    await survives(t, channel, raw(fault, channel.topic));
  }),
);

const costsNothing = names.map((fault) =>
  should(`fault-${fault}-lives`, "F1", `A fault (${fault}) does not cost the connection.`, async (t) => {
    const channel = await t.joined();
    const lives = await survives(t, channel, raw(fault, channel.topic));
    assert.ok(lives, "the connection was closed");
    const reply = await channel.ask(t.answered);
    assert.equal(reply.payload.status, "ok");
  }),
);

export default [
  ...costsOthersNothing,
  ...costsNothing,
  must("fault-binary-version-one", "F1", "Bytes from a client of version 1 cost others nothing.", async (t) => {
    const channel = await t.joined(t.topic(), { vsn: "1.0.0" });
    await survives(t, channel, Uint8Array.of(0, 0, 0, 1, 1, 0x74, 0x65));
  }),
  must("fault-array-version-one", "F1", "An array from a client of version 1 costs others nothing.", async (t) => {
    const channel = await t.joined(t.topic(), { vsn: "1.0.0" });
    await survives(t, channel, '[null,"1","phoenix","heartbeat",{}]');
  }),
  must("null-join", "F4", "A join whose payload is null is a join.", async (t) => {
    const socket = await t.connect();
    assert.equal((await socket.join(t.topic(), null)).status, "ok");
  }),
  must("null-leave", "F4", "A leave whose payload is null is a leave.", async (t) => {
    const channel = await t.joined();
    assert.equal((await channel.ask("phx_leave", null)).payload.status, "ok");
    assert.equal((await channel.ask(t.answered)).payload.status, "error");
  }),
  must("null-heartbeat", "F4", "A heartbeat whose payload is null is one, and no fault.", async (t) => {
    const socket = await t.connect();
    for (let n = 0; n < 20; n += 1) {
      const reply = await socket.ask("phoenix", "heartbeat", null);
      assert.equal(reply.payload.status, "ok");
    }
  }),
  must("binary-text-version-one", "F5", "Version 1 is JSON in binary frames, too.", async (t) => {
    const socket = await t.connect({ vsn: "1.0.0" });
    socket.sendRaw(Buffer.from('{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"b"}'));
    const reply = await socket.next("an answer", ({ ref }) => ref === "b");
    assert.equal(reply.payload.status, "ok");
  }),
  must("not-utf8", "F2", "Text that is not UTF-8 closes with 1007.", async (t) => {
    const channel = await t.joined();
    channel.socket.sendRaw(Buffer.from([0x5b, 0xff, 0x5d]), { binary: false });
    assert.equal((await channel.socket.closed).code, 1007);
  }),
  must("oversized", "F3", "A frame of 16 MiB is taken, or closes with 1009; others live.", async (t) => {
    const channel = await t.joined();
    const other = await t.joined(channel.topic);
    const { socket, topic } = channel;
    const payload = { text: "x".repeat(16 * 1024 * 1024) };
    socket.send({ join_ref: "1", ref: "8", topic, event: t.answered, payload });
    const reply = socket.next("an answer", ({ ref }) => ref === "8").catch(() => null);
    const end = await Promise.race([reply, socket.closed]);
    assert.ok(end, "neither an answer nor an end");
    // A server that resets a connection it reads no further is seen as 1006.
    if (end.code !== undefined) assert.ok([1009, 1006].includes(end.code), `closed ${end.code}`);
    assert.equal((await other.ask(t.answered)).payload.status, "ok");
  }),
];
