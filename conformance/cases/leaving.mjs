// L: leaves, and channels that the server ends.

import assert from "node:assert/strict";

import { must } from "../case.mjs";
import { five, isReply } from "../frames.mjs";

const OK_EMPTY = { status: "ok", response: {} };
const UNMATCHED = { status: "error", response: { reason: "unmatched topic" } };

const events = (socket, topic) =>
  socket.heard.filter((frame) => frame.topic === topic).map(({ event }) => event);

export default [
  must("leave-reply", "L1", "A leave is answered ok.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.ask("phx_leave", {}, { ref: "9" });
    assert.deepEqual(five(reply), ["1", "9", channel.topic, "phx_reply", OK_EMPTY]);
  }),
  must("leave-close", "L1", "Behind the answer comes phx_close with the refs of the join.", async (t) => {
    const channel = await t.joined();
    await channel.leave();
    const close = await channel.next("phx_close");
    assert.deepEqual(five(close), ["1", "1", channel.topic, "phx_close", {}]);
    assert.deepEqual(events(channel.socket, channel.topic), ["phx_reply", "phx_reply", "phx_close"]);
  }),
  must("leave-null-ref", "L2", "A leave with join_ref null is meant for the channel.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.ask("phx_leave", {}, { join_ref: null });
    assert.equal(reply.payload.status, "ok");
    await channel.next("phx_close");
  }),
  must("leave-stale", "L2", "A leave with a stale join_ref is ignored.", async (t) => {
    const channel = await t.joined();
    const { socket, topic } = channel;
    socket.send({ join_ref: "stale", ref: "8", topic, event: "phx_leave", payload: {} });
    assert.equal((await channel.ask(t.answered)).payload.status, "ok");
    await socket.beat();
    assert.deepEqual(socket.untaken(({ event }) => event !== t.options.broadcast), []);
  }),
  must("leave-unjoined", "L3", "A leave of what is not joined is answered ok.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    const reply = await socket.ask(topic, "phx_leave", {}, { join_ref: "3", ref: "4" });
    assert.deepEqual(five(reply), ["3", "4", topic, "phx_reply", OK_EMPTY]);
    await socket.beat();
    assert.deepEqual(events(socket, topic), ["phx_reply"]);
  }),
  must("leave-then-push", "L4", "A push after a leave is answered as unmatched.", async (t) => {
    const channel = await t.joined();
    await channel.leave();
    await channel.next("phx_close");
    assert.deepEqual((await channel.ask(t.answered)).payload, UNMATCHED);
  }),
  must("leave-silence", "L4", "After a leave nothing more arrives.", async (t) => {
    const event = t.name("broadcast");
    const [stays, leaves] = await t.pair();
    await leaves.leave();
    await leaves.next("phx_close");
    for (let n = 0; n < 10; n++) await stays.ask(event, { n });
    await leaves.socket.beat();
    assert.deepEqual(leaves.socket.untaken(), []);
  }),
  must("leave-then-join", "L4", "After a leave the topic can be joined anew.", async (t) => {
    const channel = await t.joined();
    await channel.leave();
    const again = await t.join(channel.socket, channel.topic);
    assert.equal((await again.ask(t.answered)).payload.status, "ok");
  }),
  must("leave-join-burst", "L4", "Leave and join in one burst end joined, and stay so.", async (t) => {
    const { socket, topic } = await t.joined();
    const payload = { ...t.options["join-params"] };
    socket.send({ join_ref: "1", ref: "2", topic, event: "phx_leave", payload: {} });
    socket.send({ join_ref: "3", ref: "3", topic, event: "phx_join", payload });
    assert.equal((await socket.next("the join", isReply("3", topic))).payload.status, "ok");
    const reply = await socket.ask(topic, t.answered, {}, { join_ref: "3" });
    assert.equal(reply.payload.status, "ok");
    await socket.beat();
    const closes = socket.heard.filter(({ event }) => event === "phx_close");
    assert.deepEqual(closes.map(({ join_ref }) => join_ref), ["1"]);
  }),
  must("stop-close", "L5", "A channel that the server ends sends phx_close.", async (t) => {
    const event = t.name("stop");
    const channel = await t.joined();
    channel.push(event);
    const close = await channel.next("phx_close");
    assert.deepEqual(five(close), ["1", "1", channel.topic, "phx_close", {}]);
    assert.deepEqual((await channel.ask(t.answered)).payload, UNMATCHED);
  }),
  must("crash-error", "L5", "A channel that crashes sends phx_error.", async (t) => {
    const event = t.name("crash");
    const channel = await t.joined();
    channel.push(event);
    const error = await channel.next("phx_error");
    assert.deepEqual(five(error).slice(0, 4), ["1", "1", channel.topic, "phx_error"]);
    assert.equal(typeof error.payload, "object");
  }),
  must("crash-rejoin", "L5", "After a crash the topic can be joined anew, and others live.", async (t) => {
    const event = t.name("crash");
    const channel = await t.joined();
    const other = await t.join(channel.socket);
    channel.push(event);
    await channel.next("phx_error");
    const again = await t.join(channel.socket, channel.topic);
    for (const one of [again, other]) {
      assert.equal((await one.ask(t.answered)).payload.status, "ok");
    }
  }),
];
