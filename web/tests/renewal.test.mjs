// Tokens that expire: what a page does to come back, with the official client.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";

import { CLIENTS } from "./clients.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const SECRET = "a secret of more than 32 bytes, for tests";
const PATIENCE_MS = 10_000;

/** A server whose tokens end when they say so. */
async function guarded(t) {
  const secret = join(await mkdtemp(join(tmpdir(), "instep-")), "secret");
  await writeFile(secret, SECRET);
  return serve(
    t,
    `[[live]]
topic = "room:*"
[[rights]]
who = "token"
actions = ["join"]
topics = ["room:*"]
[tokens]
secret = ${JSON.stringify(secret)}
leeway_s = 0
`,
  );
}

function token(seconds) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const message = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ann", exp })}`;
  return `${message}.${createHmac("sha256", SECRET).update(message).digest("base64url")}`;
}

function open(t, server, client, options) {
  const socket = new client.Socket(server.socketUrl, {
    transport: client.transport,
    reconnectAfterMs: () => 50,
    rejoinAfterMs: () => 50,
    timeout: PATIENCE_MS,
    ...options,
  });
  t.after(() => socket.disconnect());
  return socket;
}

for (const client of CLIENTS.filter(({ asks }) => asks)) {
  describe(client.name, () => {
    it("shows what its function of parameters gives, and comes back after an expiry", async (t) => {
      const server = await guarded(t);
      let shown = token(-60);
      const socket = open(t, server, client, { params: () => ({ token: shown }) });
      let refused = 0;
      socket.onError(() => (refused += 1));
      socket.connect();
      await eventually("the expired token is refused", PATIENCE_MS, () => refused > 1);

      shown = token(600);

      await eventually("it connects", PATIENCE_MS, () => socket.isConnected());
      const channel = socket.channel("room:1", {});
      let joined = false;
      channel.join().receive("ok", () => (joined = true));
      await eventually("it joins", PATIENCE_MS, () => joined);
    });

    if (!client.name.startsWith("phoenix 1.8")) return;
    it("keeps an `authToken` that has expired until it is given another one", async (t) => {
      const server = await guarded(t);
      const socket = open(t, server, client, { authToken: token(-60) });
      let refused = 0;
      socket.onError(() => (refused += 1));
      socket.connect();
      await eventually("it is refused again and again", PATIENCE_MS, () => refused > 2);
      assert.equal(socket.isConnected(), false);

      socket.authToken = () => token(600);

      await eventually("it connects", PATIENCE_MS, () => socket.isConnected());
    });
  });
}
