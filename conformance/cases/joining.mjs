// J: joins, refused joins, joins on top of joins.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { five, isReply } from "../frames.mjs";

const UNMATCHED = { status: "error", response: { reason: "unmatched topic" } };

/** Everything of one topic, in order, as `event join_ref ref`. */
function story(socket, topic) {
  const own = socket.heard.filter((frame) => frame.topic === topic);
  return own.map(({ event, join_ref, ref }) => `${event} ${join_ref} ${ref}`);
}

function sendJoin(t, socket, topic, ref) {
  const payload = { ...t.options["join-params"] };
  socket.send({ join_ref: ref, ref, topic, event: "phx_join", payload });
}

async function fill(t, socket, count) {
  const channels = [];
  for (const topic of t.topics(count)) channels.push(await t.join(socket, topic));
  return channels;
}

export default [
  must("join-reply", "J1", "A join is answered ok with its refs and topic.", async (t) => {
    const topic = t.topic();
    const { reply } = await t.joined(topic);
    assert.deepEqual(five(reply).slice(0, 4), ["1", "1", topic, "phx_reply"]);
    assert.equal(reply.payload.status, "ok");
  }),
  must("join-reply-object", "J1", "The response of a join is an object.", async (t) => {
    const { response } = (await t.joined()).reply.payload;
    assert.ok(response && typeof response === "object" && !Array.isArray(response));
  }),
  must("join-two-refs", "J1", "join_ref and ref of a join may differ.", async (t) => {
    const socket = await t.connect();
    const { reply } = await t.join(socket, t.topic(), {}, { join_ref: "j", ref: "r" });
    assert.deepEqual([reply.join_ref, reply.ref], ["j", "r"]);
  }),
  should("join-null-ref", "J1", "A join without join_ref is accepted.", async (t) => {
    const socket = await t.connect();
    const channel = await t.join(socket, t.topic(), {}, { join_ref: null, ref: "1" });
    assert.equal((await channel.ask(t.answered)).payload.status, "ok");
  }),
  must("join-unmatched", "J2", "An unmatched topic is refused in the one known form.", async (t) => {
    const { unmatched } = t.options;
    const { reply } = await (await t.connect()).join(unmatched, {}, { join_ref: "3", ref: "4" });
    assert.deepEqual(five(reply), [null, "4", unmatched, "phx_reply", UNMATCHED]);
  }),
  must("join-unmatched-again", "J2", "A refused topic may be tried again and again.", async (t) => {
    const socket = await t.connect();
    for (let n = 0; n < 5; n++) {
      assert.deepEqual((await socket.join(t.options.unmatched)).reply.payload, UNMATCHED);
    }
  }),
  must("join-refused", "J3", "A refused join is answered error with its join_ref.", async (t) => {
    const topic = t.name("refused");
    const { reply } = await (await t.connect()).join(topic, {}, { join_ref: "3", ref: "4" });
    assert.deepEqual(five(reply).slice(0, 4), ["3", "4", topic, "phx_reply"]);
    assert.equal(reply.payload.status, "error");
  }),
  must("join-refused-leaves-none", "J3", "A refused join leaves no channel behind.", async (t) => {
    const topic = t.name("refused");
    const channel = await (await t.connect()).join(topic);
    assert.deepEqual((await channel.ask("anything")).payload, UNMATCHED);
  }),
  must("join-reply-first", "J4", "What the server pushes in a join follows the reply.", async (t) => {
    const params = t.name("join-pushes");
    const channel = await t.join(await t.connect(), t.topic(), params);
    await channel.socket.next("a push", (frame) => frame.topic === channel.topic);
    const [first, second] = channel.socket.heard;
    assert.equal(first.event, "phx_reply");
    assert.notEqual(second.event, "phx_reply");
  }),
  must("join-push-pipelined", "J4", "Pushes sent right behind a join are answered behind it.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    sendJoin(t, socket, topic, "1");
    socket.send({ join_ref: "1", ref: "2", topic, event: t.answered, payload: {} });
    const reply = await socket.next("the answer to the push", isReply("2"));
    assert.equal(reply.payload.status, "ok");
    assert.equal(story(socket, topic)[0], "phx_reply 1 1");
  }),
  must("rejoin-order", "J5", "A second join: its reply, then phx_close with the old join_ref.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    await t.join(socket, topic, {}, { ref: "1" });
    await t.join(socket, topic, {}, { ref: "2" });
    await socket.next("phx_close", (frame) => frame.event === "phx_close");
    await socket.beat();
    assert.deepEqual(story(socket, topic), ["phx_reply 1 1", "phx_reply 2 2", "phx_close 1 1"]);
  }),
  must("rejoin-lives", "J5", "After a second join the new channel works.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    await t.join(socket, topic);
    const channel = await t.join(socket, topic);
    assert.equal((await channel.ask(t.answered)).payload.status, "ok");
  }),
  must("rejoin-once", "J5", "After a second join a broadcast arrives once.", async (t) => {
    const [socket, topic, event] = [await t.connect(), t.topic(), t.name("broadcast")];
    await t.join(socket, topic);
    const channel = await t.join(socket, topic);
    channel.push(event, { n: 1 });
    await channel.ask(event, { n: 2 });
    await socket.next("the second", (frame) => frame.event === event && frame.payload.n === 2);
    const heard = socket.heard.filter((frame) => frame.event === event);
    assert.deepEqual(heard.map(({ payload }) => payload.n), [1, 2]);
  }),
  must("rejoin-burst", "J5", "Joins in one burst: the last lives and is never closed.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    const refs = ["1", "2", "3", "4", "5"];
    for (const ref of refs) sendJoin(t, socket, topic, ref);
    for (const ref of refs) await socket.next(`the reply to join ${ref}`, isReply(ref, topic));
    const ref = "6";
    const push = { join_ref: "5", ref, topic, event: t.answered, payload: {} };
    socket.send(push);
    assert.equal((await socket.next("an answer", isReply(ref))).payload.status, "ok");
    await socket.beat();
    // A server may give up a join that a newer one overtook: error, and nothing to close.
    const isOk = ({ event, payload }) => event === "phx_reply" && payload.status === "ok";
    const joined = socket.heard.filter((frame) => frame.topic === topic && isOk(frame) && frame.ref < 5);
    const closed = socket.heard.filter(({ event }) => event === "phx_close");
    const joinRefs = (frames) => frames.map(({ join_ref }) => join_ref);
    assert.deepEqual(joinRefs(closed), joinRefs(joined));
  }),
  must("channels-limit", "J6", "One channel too many is refused by name; the others live.", async (t) => {
    const count = t.name("channels");
    const socket = await t.connect();
    const channels = await fill(t, socket, count);
    const { reply } = await socket.join(t.topic());
    const refusal = { status: "error", response: { reason: "too many channels joined" } };
    assert.deepEqual(reply.payload, refusal);
    assert.equal(reply.join_ref, reply.ref);
    for (const channel of [channels[0], channels.at(-1)]) {
      assert.equal((await channel.ask(t.answered)).payload.status, "ok");
    }
  }),
  must("channels-limit-left", "J6", "A channel that was left makes room for another.", async (t) => {
    const count = t.name("channels");
    const socket = await t.connect();
    const [first] = await fill(t, socket, count);
    await first.leave();
    await first.next("phx_close");
    await t.join(socket);
  }),
  must("channels-limit-rejoin", "J6", "At the limit a joined topic can be joined anew.", async (t) => {
    const count = t.name("channels");
    const socket = await t.connect();
    const [first] = await fill(t, socket, count);
    await t.join(socket, first.topic);
  }),
  must("channels-limit-refused", "J6", "Refused joins do not count.", async (t) => {
    const count = t.name("channels");
    const socket = await t.connect();
    for (let n = 0; n < count; n++) await socket.join(t.options.unmatched);
    await t.join(socket);
  }),
  must("topic-exact", "J7", "A topic with any characters comes back as it was.", async (t) => {
    const topic = `${t.topic()} é😀\u2028"\\/\t`;
    assert.equal((await t.joined(topic)).reply.topic, topic);
  }),
  must("topic-case", "J7", "Topics that differ in case are different.", async (t) => {
    const [topic, event] = [t.topic(), t.name("broadcast")];
    const [low, high] = [await t.joined(`${topic}a`), await t.joined(`${topic}A`)];
    await high.ask(event, { n: 1 });
    await low.ask(event, { n: 2 });
    assert.deepEqual((await low.next(event)).payload, { n: 2 });
  }),
  must("join-independent", "J8", "One member's end is no business of another's.", async (t) => {
    const [stays, leaves] = await t.pair();
    const cut = await t.joined(stays.topic);
    await leaves.leave();
    await cut.socket.cut();
    assert.equal((await stays.ask(t.answered)).payload.status, "ok");
    assert.equal(stays.socket.heard.filter(({ event }) => event === "phx_close").length, 0);
  }),
];
