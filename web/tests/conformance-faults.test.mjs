// The conformance suite sees what is wrong: the built server, made wrong by a proxy.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, it } from "node:test";

import WebSocket, { WebSocketServer } from "ws";

import { CASES } from "../../conformance/cases.mjs";
import { readOptions } from "../../conformance/options.mjs";
import { runCases } from "../../conformance/suite.mjs";
import { serve } from "./start.mjs";

const PROFILE = new URL("../../conformance/profiles/instep.json", import.meta.url).pathname;
const CONFIG = `
[[live]]
topic = "room:*"
anyone_publishes = true
`;

const server = await serve({ after }, CONFIG);

const isEvent = (event) => (frame) => frame[3] === event;
const isReply = isEvent("phx_reply");
const isHeard = isEvent("said");

/** Each fault changes frames of version 2 on their way to the client; none means: not sent. */
const FAULTS = [
  ["nothing is wrong", (frame) => [frame], []],
  ["phx_close is not sent", (frame) => (isEvent("phx_close")(frame) ? [] : [frame]), ["leave-close", "rejoin-order"]],
  [
    "phx_close names no join",
    (frame) => [isEvent("phx_close")(frame) ? [null, null, ...frame.slice(2)] : frame],
    ["leave-close", "rejoin-order", "rejoin-burst"],
  ],
  [
    "a ref comes back as a number",
    ([join, ref, ...rest]) => [[join, ref === "7" ? 7 : ref, ...rest]],
    ["ref-number-like"],
  ],
  ["a ref is trimmed", ([join, ref, ...rest]) => [[join, ref?.trim?.() ?? ref, ...rest]], ["ref-space"]],
  [
    "an unmatched topic is answered with a join_ref",
    (frame) => [frame[4]?.response?.reason === "unmatched topic" ? ["3", ...frame.slice(1)] : frame],
    ["join-unmatched", "push-unjoined"],
  ],
  ["replies come twice", (frame) => (isReply(frame) ? [frame, frame] : [frame]), ["push-pipelined", "heartbeat-burst"]],
  ["broadcasts come twice", (frame) => (isHeard(frame) ? [frame, frame] : [frame]), ["rejoin-once", "broadcast-order"]],
  ["a broadcast is lost", (frame) => (isHeard(frame) && frame[4].n === 57 ? [] : [frame]), ["broadcast-order"]],
  ["a broadcast names a join", (frame) => [isHeard(frame) ? ["1", ...frame.slice(1)] : frame], ["broadcast-form"]],
  ["heartbeats are not answered", (frame) => (frame[2] === "phoenix" ? [] : [frame]), ["heartbeat"]],
  [
    "a reply follows what it should precede",
    (frame, later) => {
      if (isReply(frame) && frame[4].response?.mode) return later.push(frame) && [];
      return isHeard(frame) ? [frame, ...later.splice(0)] : [frame];
    },
    ["storm-reply-first"],
  ],
].map(([name, change, cases]) => ({ name, change, cases }));

describe("the conformance suite, when", () => {
  for (const { name, change, cases } of FAULTS) {
    it(`${name}, ${cases.length > 0 ? `fails ${cases.join(", ")}` : "fails nothing"}`, async (t) => {
      const every = [...new Set(FAULTS.flatMap((fault) => fault.cases))];
      const ids = cases.length > 0 ? cases : every;
      const options = readOptions(["--profile", PROFILE, "--url", await proxy(t, change)]);
      // A fault may only show by silence.
      if (cases.length > 0) options.timeout = 2000;

      const chosen = CASES.filter(({ id }) => ids.includes(id));
      const outcomes = await runCases(chosen, options);

      const failed = outcomes.filter(({ result }) => result === "failed").map(({ id }) => id);
      assert.deepEqual(failed.toSorted(), cases.toSorted(), JSON.stringify(outcomes));
    });
  }
});

/** A proxy to the server; answers its endpoint. */
async function proxy(t, change) {
  const proxied = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(proxied, "listening");
  t.after(() => {
    for (const client of proxied.clients) client.terminate();
    proxied.close();
  });
  proxied.on("connection", (client, request) => {
    const upstream = new WebSocket(server.url.replace("http", "ws") + request.url);
    const early = [];
    const later = [];
    const up = (data, binary) => upstream.send(data, { binary });
    client.on("message", (data, binary) => {
      if (upstream.readyState === WebSocket.OPEN) up(data, binary);
      else early.push([data, binary]);
    });
    upstream.on("open", () => early.forEach(([data, binary]) => up(data, binary)));
    upstream.on("message", (data, binary) => {
      if (binary) return client.send(data, { binary });
      for (const frame of change(JSON.parse(data), later)) client.send(JSON.stringify(frame));
      return undefined;
    });
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      one.on("error", () => {});
      one.on("close", () => other.terminate());
    }
  });
  return `ws://127.0.0.1:${proxied.address().port}/socket`;
}
