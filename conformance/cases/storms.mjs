// S: many at once.

import assert from "node:assert/strict";

import { must } from "../case.mjs";
import { isReply } from "../frames.mjs";

/** Joins all topics in one burst; sees that each is answered ok, once. */
async function joinAll(t, socket, topics) {
  const payload = { ...t.options["join-params"] };
  const refs = topics.map((topic) => {
    const ref = socket.ref();
    socket.send({ join_ref: ref, ref, topic, event: "phx_join", payload });
    return ref;
  });
  for (const [at, ref] of refs.entries()) {
    const reply = await socket.next(`the join of ${topics[at]}`, isReply(ref, topics[at]));
    assert.equal(reply.payload.status, "ok");
  }
  return refs;
}

const many = (t) => t.options.channels || 100;

export default [
  must("storm-one-socket", "S1", "As many channels as allowed, joined in one burst.", async (t) => {
    const socket = await t.connect();
    await joinAll(t, socket, t.topics(many(t)));
    await socket.beat();
    assert.deepEqual(socket.untaken(isReply), []);
  }),
  must("storm-each-hears", "S1", "Each of them hears its broadcast.", async (t) => {
    const event = t.name("broadcast");
    const [listener, speaker] = [await t.connect(), await t.connect()];
    const topics = t.topics(many(t));
    await joinAll(t, listener, topics);
    const refs = await joinAll(t, speaker, topics);
    topics.forEach((topic, n) => {
      speaker.send({ join_ref: refs[n], ref: null, topic, event, payload: { n } });
    });
    for (const [n, topic] of topics.entries()) {
      const isOwn = (frame) => frame.topic === topic && frame.event === event;
      assert.deepEqual((await listener.next(`number ${n}`, isOwn)).payload, { n });
    }
  }),
  must("storm-leave-all", "S1", "All of them, left in one burst, are answered and closed.", async (t) => {
    const socket = await t.connect();
    const topics = t.topics(many(t));
    const refs = await joinAll(t, socket, topics);
    topics.forEach((topic, n) => {
      const ref = socket.ref();
      socket.send({ join_ref: refs[n], ref, topic, event: "phx_leave", payload: {} });
    });
    for (const [n, topic] of topics.entries()) {
      const isClose = (frame) => frame.topic === topic && frame.event === "phx_close";
      assert.equal((await socket.next(`the close of ${topic}`, isClose)).join_ref, refs[n]);
    }
  }),
  must("storm-many-sockets", "S2", "30 sockets join 30 topics each, all at once.", async (t) => {
    const topics = t.topics(30);
    const sockets = await Promise.all(topics.map(() => t.connect()));
    await Promise.all(sockets.map((socket) => joinAll(t, socket, topics)));
  }),
  must("storm-again", "S2", "Cut and joined again ten times, heartbeats answered meanwhile.", async (t) => {
    const topics = t.topics(20);
    const calm = await t.joined(topics[0]);
    for (let round = 0; round < 10; round++) {
      const sockets = await Promise.all(topics.map(() => t.connect()));
      const joins = Promise.all(sockets.map((socket) => joinAll(t, socket, topics)));
      await calm.socket.beat();
      await joins;
      await Promise.all(sockets.map((socket) => socket.cut()));
    }
    assert.equal((await calm.ask(t.answered)).payload.status, "ok");
  }),
  must("storm-reply-first", "S3", "While others publish, a join's reply is its first frame.", async (t) => {
    const event = t.name("broadcast");
    const speaker = await t.joined();
    let talking = true;
    const talk = (async () => {
      while (talking) {
        for (let n = 0; n < 20; n++) speaker.push(event, { n }, null);
        await speaker.socket.beat();
      }
    })();
    for (let n = 0; n < 40; n++) {
      const { socket } = await t.joined(speaker.topic);
      await socket.next("a broadcast", (frame) => frame.event === event);
      assert.equal(socket.heard[0].event, "phx_reply");
      await socket.cut();
    }
    talking = false;
    await talk;
  }),
  must("storm-no-gap", "S3", "What is published after a join's reply arrives, without gaps.", async (t) => {
    const event = t.name("broadcast");
    const speaker = await t.joined();
    const listeners = [];
    for (let n = 0; n < 100; n++) {
      speaker.push(event, { n }, null);
      if (n % 10 === 5) listeners.push(await t.joined(speaker.topic));
    }
    await speaker.ask(event, { n: 100 });
    for (const { socket } of listeners) {
      await socket.next("number 100", ({ payload }) => payload.n === 100);
      const heard = socket.heard.filter((frame) => frame.event === event);
      const numbers = heard.map(({ payload }) => payload.n);
      const [first] = numbers;
      assert.deepEqual(numbers, numbers.map((_, at) => first + at));
      assert.equal(numbers.at(-1), 100);
    }
  }),
];
