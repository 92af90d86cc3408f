// C: the upgrade, the heartbeat, the end of a connection.

import assert from "node:assert/strict";

import { must, should } from "../case.mjs";
import { five } from "../frames.mjs";
import { plainRequest } from "../socket.mjs";

const OK_EMPTY = { status: "ok", response: {} };
const UNMATCHED = { status: "error", response: { reason: "unmatched topic" } };

async function refusal(t, options) {
  const opened = await t.connect(options).catch((error) => error);
  assert.ok(opened.status, `no HTTP status but ${opened.message ?? "an upgrade"}`);
  return opened.status;
}

const accepted = (vsn) =>
  must(`connect-vsn-${vsn}`, "C2", `vsn ${vsn} is accepted.`, async (t) => {
    const socket = await t.connect({ vsn });
    assert.deepEqual((await socket.beat()).payload, OK_EMPTY);
  });

const refused = (vsn) =>
  must(`connect-no-vsn-${vsn || "empty"}`, "C3", `vsn "${vsn}" is refused with 403.`, async (t) => {
    assert.equal(await refusal(t, { vsn }), 403);
  });

const websocketUrl = (t) => `${t.options.url.replace(/\/$/, "")}/websocket?vsn=2.0.0`;

export default [
  must("connect-upgrade", "C1", "The upgrade succeeds at /websocket.", async (t) => {
    await t.connect();
  }),
  must("connect-params", "C1", "Parameters of the application are let through.", async (t) => {
    const socket = await t.connect({ params: { "user[name]": "a b", token: "%20", x: "" } });
    await socket.beat();
  }),
  must("connect-vsn-missing", "C2", "Without vsn the connection speaks version 1.", async (t) => {
    const socket = await t.connect({ vsn: null });
    assert.deepEqual((await socket.beat()).payload, OK_EMPTY);
    assert.deepEqual(socket.unreadable, []);
  }),
  ...["1.0.0", "1.0.3", "2.0.0", "2.0.7"].map(accepted),
  ...["3.0.0", "2.1.0", "1.1.0", "2", "2.0", "garbage", ""].map(refused),
  must("connect-plain-get", "C4", "A GET that is no upgrade is an HTTP error.", async (t) => {
    const status = await plainRequest(websocketUrl(t), { timeout: t.timeout });
    assert.ok(status >= 400 && status < 500, `HTTP ${status}`);
  }),
  must("connect-post", "C4", "A POST is an HTTP error.", async (t) => {
    const options = { method: "POST", timeout: t.timeout };
    const status = await plainRequest(websocketUrl(t), options);
    assert.ok(status >= 400 && status < 500, `HTTP ${status}`);
  }),
  must("connect-bad-key", "C4", "An upgrade without a key is an HTTP error.", async (t) => {
    const headers = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" };
    const status = await plainRequest(websocketUrl(t), { headers, timeout: t.timeout });
    assert.ok(status >= 400 && status < 500, `HTTP ${status}`);
  }),
  must("connect-no-subprotocol", "C5", "No subprotocol is invented.", async (t) => {
    assert.equal((await t.connect()).protocol, "");
  }),
  must("connect-token", "C6", "A token in the subprotocol is answered `phoenix`.", async (t) => {
    t.needs("auth-token");
    const socket = await t.connect({ protocols: ["phoenix", "base64url.bearer.phx.MTIzNA"] });
    assert.equal(socket.protocol, "phoenix");
    await socket.beat();
  }),
  must("connect-subprotocol", "C6", "`phoenix` alone is answered `phoenix`.", async (t) => {
    t.needs("auth-token");
    assert.equal((await t.connect({ protocols: ["phoenix"] })).protocol, "phoenix");
  }),
  must("connect-other-subprotocol", "C7", "Only unknown subprotocols: 403.", async (t) => {
    t.needs("auth-token");
    assert.equal(await refusal(t, { protocols: ["graphql-ws"] }), 403);
  }),
  must("connect-refused", "C8", "A connect that the application refuses is 403.", async (t) => {
    assert.equal(await refusal(t, { params: t.name("refused-params") }), 403);
  }),
  must("connect-origin", "C8", "A refused origin is 403.", async (t) => {
    assert.equal(await refusal(t, { headers: { origin: t.name("refused-origin") } }), 403);
  }),
  must("heartbeat", "C9", "A heartbeat is answered before anything is joined.", async (t) => {
    const socket = await t.connect();
    const reply = await socket.ask("phoenix", "heartbeat", {}, { ref: "beat" });
    assert.deepEqual(five(reply), [null, "beat", "phoenix", "phx_reply", OK_EMPTY]);
  }),
  should("heartbeat-join-ref", "C9", "The answer has no join_ref, even if it was sent.", async (t) => {
    const reply = await (await t.connect()).ask("phoenix", "heartbeat", {}, { join_ref: "7" });
    assert.equal(reply.join_ref, null);
  }),
  must("heartbeat-burst", "C9", "Many heartbeats are answered, each once, in order.", async (t) => {
    const socket = await t.connect();
    const refs = Array.from({ length: 200 }, () => socket.ref());
    for (const ref of refs) {
      socket.send({ join_ref: null, ref, topic: "phoenix", event: "heartbeat", payload: {} });
    }
    await socket.beat();
    assert.deepEqual(socket.heard.slice(0, 200).map(({ ref }) => ref), refs);
    assert.equal(socket.heard.length, 201);
  }),
  must("heartbeat-joined", "C9", "A heartbeat is answered by the socket while joined.", async (t) => {
    const channel = await t.joined();
    const reply = await channel.socket.beat();
    assert.deepEqual(reply.payload, OK_EMPTY);
    assert.equal(reply.topic, "phoenix");
  }),
  must("socket-topic", "C10", "Another event on `phoenix` is unmatched.", async (t) => {
    const socket = await t.connect();
    const reply = await socket.ask("phoenix", "anything", {}, { ref: "5" });
    assert.deepEqual(five(reply), [null, "5", "phoenix", "phx_reply", UNMATCHED]);
  }),
  must("socket-topic-join", "C10", "The topic `phoenix` cannot be joined.", async (t) => {
    const { payload } = (await (await t.connect()).join("phoenix")).reply;
    assert.equal(payload.status, "error");
  }),
  must("ping", "C11", "A ping is answered with its payload.", async (t) => {
    const socket = await t.connect();
    assert.equal(`${await socket.ping("are you there")}`, "are you there");
  }),
  must("close-answered", "C11", "A close is answered with its code.", async (t) => {
    assert.equal((await (await t.connect()).close(1000)).code, 1000);
  }),
  must(
    "idle",
    "C12",
    "A silent connection is closed, and not with 1000.",
    async (t) => {
      const ms = t.name("idle-ms");
      const socket = await t.connect();
      await socket.beat();
      const patience = new Promise((resolve) => setTimeout(resolve, 2 * ms + t.timeout).unref());
      const end = await Promise.race([socket.closed, patience]);
      assert.ok(end, `still open ${2 * ms} ms later`);
      assert.notEqual(end.code, 1000);
    },
    { slow: true },
  ),
];
