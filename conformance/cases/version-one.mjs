// V: clients of 2014 to 2018, and clients that send no vsn.

import assert from "node:assert/strict";

import { must } from "../case.mjs";
import { isReply } from "../frames.mjs";

const V1 = { vsn: "1.0.0" };
const UNMATCHED = { status: "error", response: { reason: "unmatched topic" } };

/** A socket that fails the case when the server sends anything but the four keys. */
async function readable(socket) {
  await socket.beat();
  assert.deepEqual(socket.unreadable, []);
}

export default [
  must("v1-heartbeat", "V1", "A heartbeat is answered in the form of version 1.", async (t) => {
    const socket = await t.connect(V1);
    const { topic, ref, payload } = await socket.ask("phoenix", "heartbeat", {}, { ref: "1" });
    assert.deepEqual([topic, ref, payload], ["phoenix", "1", { status: "ok", response: {} }]);
    await readable(socket);
  }),
  must("v1-join", "V1", "A join is answered with the four keys.", async (t) => {
    const channel = await t.joined(t.topic(), V1);
    assert.equal(channel.reply.ref, "1");
    await readable(channel.socket);
  }),
  must("v1-broadcast", "V1", "A broadcast has a null ref.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, listener] = await t.pair(t.topic(), V1);
    speaker.push(event, { n: 1 });
    const { ref, payload } = await listener.next(event);
    assert.deepEqual([ref, payload], [null, { n: 1 }]);
    await readable(listener.socket);
  }),
  must("v1-unmatched", "V2", "An unmatched topic is refused.", async (t) => {
    const { reply } = await (await t.connect(V1)).join(t.options.unmatched);
    assert.deepEqual(reply.payload, UNMATCHED);
  }),
  must("v1-push", "V2", "A push is answered with its ref.", async (t) => {
    const channel = await t.joined(t.topic(), V1);
    const reply = await channel.ask(t.answered, {}, { ref: "0x7" });
    assert.deepEqual([reply.ref, reply.payload.status], ["0x7", "ok"]);
  }),
  must("v1-leave", "V2", "A leave is answered ok, then comes phx_close.", async (t) => {
    const channel = await t.joined(t.topic(), V1);
    assert.equal((await channel.leave()).payload.status, "ok");
    await channel.next("phx_close");
    assert.deepEqual((await channel.ask("anything")).payload, UNMATCHED);
  }),
  must("v1-rejoin", "V2", "A second join: reply, phx_close of the first, and the topic works.", async (t) => {
    const first = await t.joined(t.topic(), V1);
    const second = await t.join(first.socket, first.topic);
    await second.next("phx_close");
    assert.equal((await second.ask(t.answered)).payload.status, "ok");
  }),
  must("v1-keys", "V2", "Keys may come in any order, further ones are ignored.", async (t) => {
    const socket = await t.connect(V1);
    socket.sendRaw('{"ref":"5","more":[],"payload":{},"event":"heartbeat","topic":"phoenix"}');
    await socket.next("an answer", isReply("5"));
  }),
  must("v1-with-v2", "V3", "Members of both versions hear each other.", async (t) => {
    const event = t.name("broadcast");
    const old = await t.joined(t.topic(), V1);
    const current = await t.joined(old.topic);
    await old.ask(event, { from: 1 });
    assert.deepEqual((await current.next(event)).payload, { from: 1 });
    await old.next(event);
    await current.ask(event, { from: 2 });
    assert.deepEqual((await old.next(event)).payload, { from: 2 });
  }),
];
