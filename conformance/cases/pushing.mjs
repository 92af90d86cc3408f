// P: requests, replies, broadcasts.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { five, isReply } from "../frames.mjs";

const UNMATCHED = { status: "error", response: { reason: "unmatched topic" } };
const PAYLOAD = {
  text: "é😀\u2028\u0000\"\\/\n",
  list: [null, true, false, [], {}, -1, 0.5, 1e21],
  deep: { a: { b: { c: { d: [{ e: "f" }] } } } },
  "": "an empty key",
};

const exactRef = (name, ref) =>
  must(`ref-${name}`, "P2", `The ref ${JSON.stringify(ref.slice(0, 12))} comes back as it was.`, async (t) => {
    const channel = await t.joined();
    assert.equal((await channel.ask(t.answered, {}, { ref })).ref, ref);
    const beat = await channel.socket.ask("phoenix", "heartbeat", {}, { ref });
    assert.equal(beat.ref, ref);
  });

/** Takes broadcasts until the one that carries `last`; answers all their `n`. */
async function numbers(channel, event, last) {
  const isLast = (frame) => frame.event === event && frame.payload.n === last;
  await channel.socket.next(`number ${last}`, isLast);
  const own = channel.socket.heard.filter((frame) => frame.event === event && frame.topic === channel.topic);
  return own.map(({ payload }) => payload.n);
}

const upTo = (count) => Array.from({ length: count }, (_, n) => n);

export default [
  must("push-reply", "P1", "A push is answered with its refs and topic.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.ask(t.answered, {}, { ref: "77" });
    assert.deepEqual(five(reply).slice(0, 4), ["1", "77", channel.topic, "phx_reply"]);
    assert.deepEqual(Object.keys(reply.payload).sort(), ["response", "status"]);
  }),
  must("push-error", "P1", "A refused push is answered error.", async (t) => {
    const channel = await t.joined();
    assert.equal((await channel.ask(t.name("refuse"))).payload.status, "error");
  }),
  must("push-pipelined", "P1", "200 pushes without waiting are answered, each once.", async (t) => {
    const channel = await t.joined();
    const refs = upTo(200).map(() => channel.push(t.answered));
    for (const ref of refs) {
      const { payload } = await channel.socket.next(`answer ${ref}`, isReply(ref));
      assert.equal(payload.status, "ok");
    }
    await channel.socket.beat();
    assert.deepEqual(channel.socket.untaken(({ event }) => event === "phx_reply"), []);
  }),
  exactRef("number-like", "7"),
  exactRef("zeros", "007"),
  exactRef("exponent", "1e3"),
  exactRef("space", " 1 "),
  exactRef("null-word", "null"),
  exactRef("unicode", "é😀\"\\"),
  exactRef("long", "r".repeat(200)),
  should("ref-number", "P2", "A ref that is a number comes back as that number.", async (t) => {
    const reply = await (await t.connect()).ask("phoenix", "heartbeat", {}, { ref: 42 });
    assert.strictEqual(reply.ref, 42);
  }),
  should("ref-number-join", "P2", "A client with numbers for refs can join and push.", async (t) => {
    const socket = await t.connect();
    const channel = await t.join(socket, t.topic(), {}, { ref: 1, join_ref: 1 });
    assert.strictEqual(channel.reply.join_ref, 1);
    assert.strictEqual((await channel.ask(t.answered, {}, { ref: 2 })).ref, 2);
  }),
  must("push-null-join-ref", "P3", "A push with join_ref null is delivered.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.ask(t.answered, {}, { join_ref: null });
    assert.equal(reply.payload.status, "ok");
  }),
  must("push-stale", "P3", "A push with a stale join_ref is dropped without an answer.", async (t) => {
    const channel = await t.joined();
    const { socket, topic } = channel;
    socket.send({ join_ref: "0", ref: "8", topic, event: t.answered, payload: {} });
    await channel.ask(t.answered);
    await socket.beat();
    assert.deepEqual(socket.untaken(isReply("8")), []);
  }),
  must("push-stale-rejoin", "P3", "After a second join the first join_ref is stale.", async (t) => {
    const first = await t.joined();
    const second = await t.join(first.socket, first.topic);
    const ref = first.push(t.answered);
    await second.ask(t.answered);
    await second.socket.beat();
    assert.deepEqual(second.socket.untaken(isReply(ref)), []);
  }),
  must("push-unjoined", "P4", "A push to what is not joined is answered as unmatched.", async (t) => {
    const [socket, topic] = [await t.connect(), t.topic()];
    const reply = await socket.ask(topic, "anything", {}, { join_ref: "3", ref: "4" });
    assert.deepEqual(five(reply), [null, "4", topic, "phx_reply", UNMATCHED]);
  }),
  must("broadcast-form", "P5", "A broadcast has null for both refs, for all subscribers.", async (t) => {
    const event = t.name("broadcast");
    const members = [...(await t.pair())];
    members.push(await t.joined(members[0].topic));
    await members[0].ask(event, { n: 1 });
    for (const member of members) {
      const heard = await member.next(event);
      assert.deepEqual(five(heard), [null, null, member.topic, event, { n: 1 }]);
    }
  }),
  must("broadcast-scope", "P5", "A broadcast reaches its topic alone.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, other] = [await t.joined(), await t.joined()];
    await speaker.ask(event, { n: 1 });
    await other.ask(event, { n: 2 });
    assert.deepEqual((await other.next(event)).payload, { n: 2 });
  }),
  must("broadcast-no-ref", "P5", "A push that wants no answer is broadcast all the same.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, listener] = await t.pair();
    speaker.push(event, { n: 1 }, null);
    assert.deepEqual((await listener.next(event)).payload, { n: 1 });
  }),
  must("broadcast-order", "P6", "500 broadcasts arrive in order at every member.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, listener] = await t.pair();
    for (const n of upTo(500)) speaker.push(event, { n }, null);
    for (const member of [speaker, listener]) {
      assert.deepEqual(await numbers(member, event, 499), upTo(500));
    }
  }),
  should("broadcast-same-order", "P6", "Two publishers: all subscribers get the same order.", async (t) => {
    const event = t.name("broadcast");
    const [one, two] = await t.pair();
    const listener = await t.joined(one.topic);
    for (const n of upTo(100)) {
      one.push(event, { n }, null);
      two.push(event, { n: n + 100 }, null);
    }
    const isEvent = (frame) => frame.event === event;
    for (const member of [one, two, listener]) {
      for (let n = 0; n < 200; n++) await member.socket.next("200 broadcasts", isEvent);
    }
    const orders = [one, two, listener].map((member) =>
      member.socket.heard.filter(isEvent).map(({ payload }) => payload.n),
    );
    assert.deepEqual(orders[1], orders[0]);
    assert.deepEqual(orders[2], orders[0]);
  }),
  must("push-to-one", "P7", "A push to one client has its join_ref and a null ref.", async (t) => {
    const event = t.name("push");
    const [one, other] = await t.pair();
    await one.ask(event, { n: 1 });
    assert.deepEqual(five(await one.next("pushed")), ["1", null, one.topic, "pushed", { n: 1 }]);
    await other.socket.beat();
    assert.deepEqual(other.socket.untaken(), []);
  }),
  must("payload-echo", "P8", "A payload comes back as it was sent.", async (t) => {
    const reply = await (await t.joined()).ask(t.name("echo"), PAYLOAD);
    assert.deepEqual(reply.payload.response, PAYLOAD);
  }),
  must("payload-broadcast", "P8", "A payload is broadcast as it was sent.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, listener] = await t.pair();
    speaker.push(event, PAYLOAD);
    assert.deepEqual((await listener.next(event)).payload, PAYLOAD);
  }),
  must("payload-empty", "P8", "An empty payload stays an empty object.", async (t) => {
    const event = t.name("broadcast");
    const channel = await t.joined();
    channel.push(event, {});
    assert.deepEqual((await channel.next(event)).payload, {});
  }),
  must("payload-large", "P8", "A payload of 48 KiB is broadcast whole.", async (t) => {
    const event = t.name("broadcast");
    const [speaker, listener] = await t.pair();
    const payload = { text: "0123456789abcdef".repeat(3072) };
    speaker.push(event, payload);
    assert.deepEqual((await listener.next(event)).payload, payload);
  }),
  must("elements-beyond", "P9", "Elements beyond the fifth are ignored.", async (t) => {
    const { socket, topic } = await t.joined();
    socket.sendRaw(JSON.stringify(["1", "9", topic, t.answered, {}, 6, { seven: 7 }]));
    assert.equal((await socket.next("an answer", isReply("9"))).payload.status, "ok");
  }),
  ...["phx_close", "phx_error", "phx_reply"].map((event) =>
    should(`reserved-${event}`, "P10", `A client's ${event} does not reach the others.`, async (t) => {
      t.needs("broadcast");
      const [speaker, listener] = await t.pair();
      speaker.push(event, { status: "ok", response: {} }, "99");
      await speaker.socket.next("an answer or an end", (frame) => frame.ref === "99").catch(() => {});
      await speaker.socket.beat();
      await listener.ask(t.answered);
      assert.deepEqual(listener.socket.untaken((frame) => frame.event === event), []);
    }),
  ),
];
