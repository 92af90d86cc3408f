// Libraries that keep a state in step over Channels, as published: Yjs and LiveState.

import assert from "node:assert/strict";
import { register } from "node:module";
import { after, describe, it } from "node:test";

import { Socket } from "phoenix";
import WebSocket from "ws";
import { PhoenixChannelProvider } from "y-phoenix-channel";
import * as Y from "yjs";

import { answer } from "./clients.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 10_000;

const CONFIG = `
[[live]]
topic = "room:*"
anyone_publishes = true
`;

const server = await serve({ after }, CONFIG);

// phx-live-state is written for a bundler, which finds files by less than their names.
const bundler = `
export async function resolve(name, context, next) {
  for (const rest of ["", ".js", "/index.js"]) {
    const found = await Promise.resolve(next(name + rest, context)).catch(() => null);
    if (found) return found;
  }
  return next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(bundler)}`);

function connected(t) {
  const options = { transport: WebSocket, reconnectAfterMs: () => 50, rejoinAfterMs: () => 50 };
  const socket = new Socket(server.socketUrl, options);
  t.after(() => socket.disconnect());
  socket.connect();
  return socket;
}

describe("y-phoenix-channel", () => {
  it("two documents come together, before and after the server was killed", async (t) => {
    const peers = [new Y.Doc(), new Y.Doc()].map((document) => {
      const provider = new PhoenixChannelProvider(connected(t), "room:yjs", document, { disableBc: true });
      t.after(() => {
        provider.destroy();
        document.destroy();
      });
      return { document, provider };
    });
    const [one, other] = peers;
    const text = ({ document }) => document.getText("text");
    const bothSay = (wanted) =>
      eventually(wanted, NEWS_MS, () => peers.every((peer) => text(peer).toString() === wanted));
    const joined = () => peers.every(({ provider }) => provider.channel?.state === "joined");
    await eventually("both have joined", NEWS_MS, joined);

    text(one).insert(0, "é😀");
    await bothSay("é😀");
    text(other).insert(0, "both: ");
    await bothSay("both: é😀");
    one.provider.awareness.setLocalStateField("user", { name: "ann" });
    const names = () => [...other.provider.awareness.getStates().values()].map(({ user }) => user?.name);
    await eventually("who is there", NEWS_MS, () => names().includes("ann"));
    await server.kill();
    await eventually("both have lost it", NEWS_MS, () => !joined());
    await server.start();
    await eventually("both have joined again", NEWS_MS, joined);
    text(one).insert(0, "again ");

    await bothSay("again both: é😀");
  });

  it("a piece that is too large is refused, and others go on", async (t) => {
    const socket = connected(t);
    const channel = socket.channel("room:large", {});
    assert.equal((await answer(channel.join())).status, "ok");

    const { status, response } = await answer(channel.push("yjs", new Uint8Array(65 * 1024).buffer));

    assert.deepEqual([status, response.reason], ["error", "payload_too_large"]);
    assert.equal((await answer(channel.push("yjs", new Uint8Array(60 * 1024).buffer))).status, "ok");
  });
});

describe("phx-live-state", () => {
  it("takes states and patches, and its events are heard, with detail and without", async (t) => {
    globalThis.CustomEvent ??= class extends Event {
      constructor(name, options) {
        super(name);
        this.detail = options?.detail ?? null;
      }
    };
    const { LiveState } = await import("phx-live-state/build/src/LiveState.js");
    const socketOptions = { transport: WebSocket };
    const state = new LiveState({ url: server.socketUrl, topic: "room:state", params: {}, socketOptions });
    t.after(() => state.disconnect());
    t.mock.method(console, "debug", () => {});
    let shown;
    state.addEventListener("livestate-change", ({ detail }) => (shown = detail.state));
    state.connect();
    await eventually("it has joined", NEWS_MS, () => state.channel.state === "joined");
    const channel = connected(t).channel("room:state", {});
    const heard = [];
    for (const event of ["lvs_evt:inc", "lvs_evt:nothing"]) {
      channel.on(event, (payload) => heard.push([event, payload]));
    }
    assert.equal((await answer(channel.join())).status, "ok");

    channel.push("state:change", { state: { n: 1 }, version: 0 });
    await eventually("a state", NEWS_MS, () => shown?.n === 1);
    channel.push("state:patch", { patch: [{ op: "replace", path: "/n", value: 2 }], version: 1 });
    await eventually("a patch", NEWS_MS, () => shown?.n === 2);
    state.dispatchEvent(new CustomEvent("inc", { detail: { by: 1 } }));
    state.dispatchEvent(new CustomEvent("nothing"));

    await eventually("both events", NEWS_MS, () => heard.length === 2);
    assert.deepEqual(heard, [["lvs_evt:inc", { by: 1 }], ["lvs_evt:nothing", {}]]);
  });
});
