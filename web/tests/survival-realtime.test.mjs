// Whatever a server answers, Supabase's client is subscribed again by itself. It has no way to say
// where it was, so what was sent meanwhile is not told.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { RealtimeClient } from "@supabase/realtime-js";
import WebSocket from "ws";

import { ENDINGS, REFUSALS, refused, surroundings } from "./troubles.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;
const VERSIONS = ["1.0.0", "2.0.0"];
const TOPIC = "/v1/topics/realtime:news";

// Most of the time is spent on waiting to come back.
describe("all at once", { concurrency: true }, () => {
  for (const refusal of REFUSALS) {
    it(`${refusal.name}: both versions are subscribed again by themselves`, async (t) => {
      const around = await surroundings(t, refusal, VERSIONS.length);
      const members = await subscribed(t, around.betweens);

      const end = await refused(around, refusal);
      await end();

      await areBack(around.server, members);
    });
  }

  for (const ending of ENDINGS) {
    it(`${ending.name}: both versions are subscribed again by themselves`, async (t) => {
      const around = await surroundings(t, ending, VERSIONS.length);
      const members = await subscribed(t, around.betweens);

      await ending.end(around);

      await areBack(around.server, members);
    });
  }
});

/** One member of each version, behind what stands between. */
async function subscribed(t, betweens) {
  const members = VERSIONS.map((vsn, at) => {
    const client = new RealtimeClient(betweens[at].socketUrl, {
      params: { apikey: "anybody" },
      transport: WebSocket,
      reconnectAfterMs: () => 50,
      vsn,
    });
    t.after(() => client.disconnect());
    const member = { vsn, states: [], heard: [] };
    const channel = client.channel("news");
    channel.on("broadcast", { event: "said" }, ({ payload }) => member.heard.push(payload.n));
    channel.subscribe((state) => member.states.push(state));
    return member;
  });
  const all = () => members.every(({ states }) => states.includes("SUBSCRIBED"));
  await eventually("both are subscribed", NEWS_MS, all);
  return members;
}

/** Both are there again, and hear what is sent. */
async function areBack(server, members) {
  await eventually("both have come back", NEWS_MS, async () => {
    const { body } = await server.request("GET", TOPIC);
    return body.subscribers === members.length;
  });
  const broadcast = { type: "broadcast", event: "said", payload: { n: 1 } };
  await server.must("POST", TOPIC, { event: "broadcast", payload: broadcast });
  for (const { vsn, heard, states } of members) {
    await eventually(`${vsn} hears it`, NEWS_MS, () => heard.length > 0);
    assert.deepEqual(heard, [1], vsn);
    await eventually(`${vsn} is told so`, NEWS_MS, () => states.at(-1) === "SUBSCRIBED");
  }
}
