// X: the same channels over HTTP requests.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { five, isReply } from "../frames.mjs";

const beat = (ref) => ({ join_ref: null, ref, topic: "phoenix", event: "heartbeat", payload: {} });
const upTo = (count) => Array.from({ length: count }, (_, n) => n);

async function joined(t, topic = t.topic(), options = {}) {
  const session = await t.longpoll(options).open();
  const reply = await session.join(topic, t.options["join-params"]);
  assert.equal(reply.payload.status, "ok");
  return { session, topic, join_ref: reply.ref, reply };
}

const message = (channel, ref, event, payload) => {
  const { topic, join_ref } = channel;
  return { join_ref, ref, topic, event, payload };
};

/** Polls until this many frames came with this event; answers their `n`. */
async function numbers(session, event, count) {
  const found = [];
  while (found.length < count) {
    const frame = await session.next(`${count} of ${event}`, (one) => one.event === event);
    found.push(frame.payload.n);
  }
  return found;
}

export default [
  must("poll-open", "X2", "The first GET opens a session: 410 with a token.", async (t) => {
    const { http, body } = await t.longpoll().get();
    assert.equal(http, 200);
    assert.deepEqual([body.status, body.messages, typeof body.token], [410, [], "string"]);
  }),
  must("poll-headers", "X1", "Answers are JSON that every origin may read.", async (t) => {
    const { headers } = await t.longpoll().get();
    assert.match(headers.get("content-type"), /^application\/json/);
    assert.equal(headers.get("access-control-allow-origin"), "*");
  }),
  should("poll-no-store", "X11", "Answers must not be stored.", async (t) => {
    assert.equal((await t.longpoll().get()).headers.get("cache-control"), "no-store");
  }),
  must("poll-options", "X9", "OPTIONS names methods, the asked headers and an age.", async (t) => {
    const headers = {
      origin: "http://localhost",
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type, x-mine",
    };
    const answer = await t.longpoll().request("OPTIONS", undefined, { headers });
    const methods = answer.headers.get("access-control-allow-methods")?.toLowerCase() ?? "";
    assert.equal(answer.http, 200);
    assert.ok(methods.includes("get") && methods.includes("post"), `methods: ${methods}`);
    assert.match(answer.headers.get("access-control-allow-headers") ?? "", /x-mine/);
    assert.ok(Number(answer.headers.get("access-control-max-age")) > 0);
  }),
  ...["3.0.0", "garbage"].map((vsn) =>
    must(`poll-no-vsn-${vsn}`, "X8", `vsn "${vsn}" is refused: 403 in the JSON.`, async (t) => {
      const { http, body } = await t.longpoll({ vsn }).get();
      assert.deepEqual([http, body.status], [200, 403]);
    }),
  ),
  must("poll-refused", "X8", "A refused connect is 403 in the JSON.", async (t) => {
    const { http, body } = await t.longpoll({ params: t.name("refused-params") }).get();
    assert.deepEqual([http, body.status], [200, 403]);
  }),
  must("poll-post", "X4", "A POST is answered with status 200.", async (t) => {
    const session = await t.longpoll().open();
    const { http, body } = await session.post([beat("1")]);
    assert.deepEqual([http, body.status], [200, 200]);
  }),
  must("poll-heartbeat", "X3", "Messages are texts of frames, with status 200.", async (t) => {
    const session = await t.longpoll().open();
    await session.post([beat("1")]);
    const { body } = await session.get();
    const expected = [null, "1", "phoenix", "phx_reply", { status: "ok", response: {} }];
    assert.equal(body.status, 200);
    assert.deepEqual(body.messages.map((text) => JSON.parse(text)), [expected]);
  }),
  must("poll-lines", "X4", "Lines of one POST are frames, in order.", async (t) => {
    const session = await t.longpoll().open();
    await session.post(upTo(20).map((n) => beat(`${n}`)));
    for (const n of upTo(20)) await session.next(`beat ${n}`, isReply(`${n}`));
    assert.deepEqual(session.heard.map(({ ref }) => Number(ref)), upTo(20));
  }),
  must("poll-text-body", "X4", "A body of another type is one text frame.", async (t) => {
    const session = await t.longpoll().open();
    const text = '[null,"1",\n"phoenix","heartbeat",{}]';
    for (const type of ["application/json", "text/plain;charset=UTF-8"]) {
      assert.equal((await session.postBody(text, type)).body.status, 200);
      await session.next("an answer", isReply("1"));
    }
  }),
  must("poll-base64", "X4", "A line that is base64 is a binary frame.", async (t) => {
    const event = t.name("binary-broadcast");
    const channel = await joined(t);
    const listener = await t.joined(channel.topic);
    await channel.session.post([message(channel, "9", event, Uint8Array.of(0, 1, 255))]);
    const { payload } = await listener.next(event);
    assert.deepEqual([...payload], [0, 1, 255]);
  }),
  must("poll-line-cap", "X5", "Of 101 lines the last is ignored.", async (t) => {
    const session = await t.longpoll().open();
    const answer = await session.post(upTo(101).map((n) => beat(`${n}`)));
    assert.equal(answer.body.status, 200);
    await session.post([beat("last")]);
    await session.next("the last beat", isReply("last"));
    assert.equal(session.heard.length, 101);
    assert.ok(!session.heard.some(({ ref }) => ref === "100"));
  }),
  must("poll-unknown-get", "X6", "A GET with an unknown token gets a new session.", async (t) => {
    const { http, body } = await t.longpoll().get({ token: "nobody-knows-it" });
    assert.deepEqual([http, body.status], [200, 410]);
    assert.ok(body.token && body.token !== "nobody-knows-it");
  }),
  must("poll-unknown-post", "X6", "A POST with an unknown token is 410.", async (t) => {
    const answer = await t.longpoll().post([beat("1")], { token: "nobody-knows-it" });
    assert.deepEqual([answer.http, answer.body.status], [200, 410]);
  }),
  must("poll-no-token-post", "X6", "A POST without a token is 410.", async (t) => {
    assert.equal((await t.longpoll().post([beat("1")])).body.status, 410);
  }),
  should("poll-header", "X7", "The token is taken from the header.", async (t) => {
    const session = await t.longpoll({ tokenIn: "header" }).open();
    await session.beat();
  }),
  should("poll-header-wins", "X7", "The header wins over the query.", async (t) => {
    const session = await t.longpoll({ tokenIn: "header" }).open();
    await session.post([beat("1")], { queryToken: "stale" });
    const { body } = await session.get({ queryToken: "stale" });
    assert.equal(body.status, 200);
  }),
  must("poll-token-echo", "X3", "A poll answers the token that it was asked with.", async (t) => {
    const session = await t.longpoll().open();
    await session.post([beat("1")]);
    assert.equal((await session.get()).body.token, session.token);
  }),
  must("poll-empty", "X3", "A poll in vain ends with 204 and no messages.", async (t) => {
    const session = await t.longpoll().open();
    const { http, body } = await session.get({ patience: 15_000 });
    assert.deepEqual([http, body.status, body.messages], [200, 204, []]);
  }),
  must("poll-wakes", "X3", "A waiting poll is answered when something comes.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const speaker = await t.joined(channel.topic);
    const waiting = channel.session.get();
    await speaker.ask(event, { n: 1 });
    const { body } = await waiting;
    assert.equal(body.status, 200);
    assert.deepEqual(JSON.parse(body.messages[0]), [null, null, channel.topic, event, { n: 1 }]);
  }),
  must("poll-join", "X3", "A join is answered as on a WebSocket.", async (t) => {
    const { reply, topic } = await joined(t);
    assert.deepEqual(five(reply).slice(0, 4), ["1", "1", topic, "phx_reply"]);
  }),
  must("poll-unmatched", "X3", "An unmatched topic is refused as on a WebSocket.", async (t) => {
    const session = await t.longpoll().open();
    const { join_ref, payload } = await session.join(t.options.unmatched);
    assert.equal(join_ref, null);
    assert.deepEqual(payload, { status: "error", response: { reason: "unmatched topic" } });
  }),
  must("poll-leave", "X3", "A leave is answered and closed as on a WebSocket.", async (t) => {
    const { session, topic, join_ref } = await joined(t);
    await session.ask(topic, "phx_leave", {}, { join_ref });
    const close = await session.next("phx_close", ({ event }) => event === "phx_close");
    assert.deepEqual([close.join_ref, close.ref], [join_ref, join_ref]);
  }),
  must("poll-speaks", "X4", "What is pushed over long-poll is heard on a WebSocket.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const listener = await t.joined(channel.topic);
    await channel.session.post([message(channel, "9", event, { n: 1 })]);
    assert.deepEqual((await listener.next(event)).payload, { n: 1 });
    assert.equal((await channel.session.next("the answer", isReply("9"))).payload.status, "ok");
  }),
  must("poll-kept", "X10", "What comes between polls is kept, in order, once.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const speaker = await t.joined(channel.topic);
    for (const n of upTo(50)) speaker.push(event, { n }, null);
    await speaker.ask(event, { n: 50 });
    assert.deepEqual(await numbers(channel.session, event, 51), upTo(51));
    await channel.session.beat();
    assert.deepEqual(channel.session.untaken(), []);
  }),
  must("poll-gone", "X13", "A poll whose client is gone takes nothing.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const speaker = await t.joined(channel.topic);
    await channel.session.get({ patience: 300 - t.timeout }).catch(() => {});
    for (const n of upTo(3)) await speaker.ask(event, { n });
    assert.deepEqual(await numbers(channel.session, event, 3), upTo(3));
  }),
  must("poll-head", "X13", "HEAD is no poll, and takes nothing.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const speaker = await t.joined(channel.topic);
    for (const n of upTo(3)) await speaker.ask(event, { n });
    const { http } = await channel.session.request("HEAD");
    assert.ok(http >= 400, `HEAD is answered ${http}`);
    assert.deepEqual(await numbers(channel.session, event, 3), upTo(3));
  }),
  must("poll-stream", "X10", "300 messages while polling arrive in order, once.", async (t) => {
    const event = t.name("broadcast");
    const channel = await joined(t);
    const speaker = await t.joined(channel.topic);
    const heard = numbers(channel.session, event, 300);
    for (const n of upTo(300)) {
      if (n % 10 === 9) await speaker.ask(event, { n });
      else speaker.push(event, { n }, null);
    }
    assert.deepEqual(await heard, upTo(300));
  }),
  must("poll-version-one", "X4", "Version 1 works over long-poll.", async (t) => {
    const { session, topic } = await joined(t, t.topic(), { vsn: "1.0.0" });
    const reply = await session.ask(topic, t.answered, {});
    assert.equal(reply.payload.status, "ok");
  }),
  must("poll-fault", "X4", "A fault over long-poll costs others nothing.", async (t) => {
    const session = await t.longpoll().open();
    const { session: other, topic, join_ref } = await joined(t);
    await session.postBody("[", "application/x-ndjson").catch(() => {});
    await session.postBody("%%%", "application/x-ndjson").catch(() => {});
    const reply = await other.ask(topic, t.answered, {}, { join_ref });
    assert.equal(reply.payload.status, "ok");
  }),
  should("poll-fault-lives", "X4", "A fault over long-poll does not cost the session.", async (t) => {
    const session = await t.longpoll().open();
    await session.postBody("[", "application/x-ndjson");
    await session.beat();
  }),
  must(
    "poll-dies",
    "X11",
    "A session without a poll is gone after a minute.",
    async (t) => {
      const session = await t.longpoll().open();
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      assert.equal((await session.post([beat("1")])).body.status, 410);
    },
    { slow: true },
  ),
];
