// Tokens that end: who renews in time stays, and who comes back with a new one goes on.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { RealtimeClient } from "@supabase/realtime-js";
import WebSocket from "ws";

import { Between } from "./between.mjs";
import { CLIENTS, answer, connect } from "./clients.mjs";
import { Source } from "./sources.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;
const LIFE_S = 3;
const SECRET = "a secret that nobody else has got, of course";

const directory = await mkdtemp(join(tmpdir(), "instep-tokens-"));
after(() => rm(directory, { recursive: true, force: true }));
await writeFile(join(directory, "secret"), SECRET);

const CONFIG = `
[tokens]
secret = ${JSON.stringify(join(directory, "secret"))}
leeway_s = 0

[[live]]
topic = "room:*"
history = 100

[[live]]
topic = "realtime:*"

[[rights]]
who = "token"
actions = ["join", "publish"]
topics = ["room:*", "realtime:*"]
`;

const server = await serve({ after }, CONFIG);
const publish = (topic, n) => server.must("POST", `/v1/topics/${encodeURIComponent(topic)}`, { event: "said", payload: { n } });

/** A token of HS256 for a few seconds. */
function token(seconds = LIFE_S) {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ann", exp })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

// Time is what a token ends by, and passes for all of them at once.
describe("channels", { concurrency: true }, () => {
  for (const client of CLIENTS.filter(({ asks }) => asks)) {
    describe(client.name, { concurrency: true }, () => {
      it("who renews its token stays, and comes back with a new one", async (t) => {
        const between = await Between.open(t, server);
        const topic = `room:renewed ${client.name}`;
        const socket = await connect(t, between, client, { params: () => ({ token: token() }) });
        const member = membership(socket, topic);
        assert.equal((await answer(member.join())).status, "ok");

        for (let n = 0; n < LIFE_S + 1; n++) {
            await sleep(1000);
          const renewed = member.channel.push("access_token", { access_token: token() });
          assert.equal((await answer(renewed)).status, "ok");
        }
        await publish(topic, 1);
        await eventually("news", NEWS_MS, () => member.heard.length === 1);
        between.cut();
        await publish(topic, 2);

        await eventually("the rest", NEWS_MS, () => member.heard.length === 2);
        assert.deepEqual(member.heard, [1, 2]);
      });

      it("whose token ends is told so, and a join with a new one goes on where it was", async (t) => {
        const topic = `room:ended ${client.name}`;
        const socket = await connect(t, server, client, { params: () => ({ token: token() }) });
        const member = membership(socket, topic);
        const ended = new Promise((resolve) => member.channel.on("access_ended", resolve));
        assert.equal((await answer(member.join())).status, "ok");
        await publish(topic, 1);

        assert.equal((await ended).reason, "token_expired");
        await publish(topic, 2);
        const again = membership(socket, topic, member);
        assert.equal((await answer(again.join())).status, "ok");
        await publish(topic, 3);

        await eventually("the rest", NEWS_MS, () => member.heard.length === 3);
        assert.deepEqual(member.heard, [1, 2, 3]);
      });
    });
  }
});

it("realtime-js shows what accessToken gives, and stays", async (t) => {
  const client = new RealtimeClient(server.socketUrl, {
    params: { apikey: token(60) },
    accessToken: async () => token(),
    heartbeatIntervalMs: 500,
    transport: WebSocket,
  });
  t.after(() => client.disconnect());
  // Its first join would else be made before it has one.
  await client.setAuth();
  const states = [];
  const heard = [];
  const channel = client.channel("renewed");
  channel.on("broadcast", { event: "said" }, ({ payload }) => heard.push(payload.n));
  channel.subscribe((state) => states.push(state));
  await eventually("it is subscribed", NEWS_MS, () => states.includes("SUBSCRIBED"));

  await sleep((LIFE_S + 1) * 1000);
  const broadcast = { type: "broadcast", event: "said", payload: { n: 1 } };
  await server.must("POST", "/v1/topics/realtime:renewed", { event: "broadcast", payload: broadcast });

  await eventually("it hears", NEWS_MS, () => heard.length === 1);
  assert.deepEqual(states, ["SUBSCRIBED"]);
});

it("an EventSource is told that its token has ended, and a new one goes on where it was", async (t) => {
  const url = (more) => `${server.url}/v1/topics/room:events/events?token=${token()}${more}`;
  const first = new Source(t, url(""), "joined", "said", "ended");
  await eventually("it has joined", NEWS_MS, () => first.all("joined").length === 1);
  await publish("room:events", 1);

  await eventually("its end", NEWS_MS, () => first.all("ended").length > 0);
  assert.equal(first.all("ended")[0].data.reason, "token_expired");
  // It would ask for ever, with what it has.
  await eventually("it is told again", NEWS_MS, () => first.all("ended").length > 1);
  assert.ok(!first.isClosed);
  first.source.close();
  await publish("room:events", 2);
  const second = new Source(t, url(`&since=${first.all("said").at(-1).id}`), "said");

  await eventually("the rest", NEWS_MS, () => second.heard.length === 1);
  assert.deepEqual([...first.all("said"), ...second.heard].map(({ data }) => data.n), [1, 2]);
});

/** A channel of a live topic that knows where it is; `before` is where it goes on. */
function membership(socket, topic, before = { heard: [], place: undefined }) {
  const member = before;
  const params = () => ({ since: member.place, access_token: token() });
  const channel = socket.channel(topic, params);
  channel.on("said", ({ n }) => {
    member.place.offset += 1;
    member.heard.push(n);
  });
  member.channel = channel;
  member.join = () =>
    channel.join().receive("ok", ({ epoch, offset }) => (member.place = { epoch, offset }));
  return member;
}
