// The official clients over wss, with a certificate that they trust, and one that changes.

import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

import WebSocket from "ws";

import { selfSigned } from "./certificate.mjs";
import { CLIENTS, answer, connect, frame } from "./clients.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const directory = await mkdtemp(join(tmpdir(), "instep-tls-"));
const files = [join(directory, "certificate.pem"), join(directory, "key.pem")];
let trusted = await renew();

/** Writes a new certificate, as a renewal does; answers it. */
async function renew() {
  const made = selfSigned();
  await writeFile(files[1], made.key);
  await writeFile(files[0], made.certificate);
  return made.certificate;
}

/** Asks over a connection of its own, and trusts this certificate alone. */
function status(url, path, ca = trusted) {
  return new Promise((resolve) => {
    const request = https.get(`${url}${path}`, { ca, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    request.on("error", (error) => resolve(error.code));
  });
}

const server = await serve(
  { after },
  `
[tls]
certificate = ${JSON.stringify(files[0])}
key = ${JSON.stringify(files[1])}

[[live]]
topic = "room:*"
anyone_publishes = true
`,
  async (url) => (await status(url, "/readyz")) === 200,
);

class Trusting extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca: trusted });
  }
}

for (const client of CLIENTS.filter(({ longPoll }) => !longPoll)) {
  describe(client.name.replace("WebSocket", "wss"), () => {
    it("joins, pushes and hears, and stays while the certificate changes", async (t) => {
      const socket = await connect(t, server, { ...client, transport: Trusting });
      const channel = socket.channel("room:1", {});
      assert.equal((await answer(channel.join())).status, "ok");
      const before = socket.conn;
      trusted = await renew();
      await eventually("the new certificate", 10_000, async () => {
        return (await status(server.url, "/readyz")) === 200;
      });

      const pushed = await answer(channel.push("hello", { text: "x".repeat(50_000) }));

      assert.equal(pushed.status, "ok");
      const heard = await frame(socket, "the event", (f) => f.event === "hello");
      assert.equal(heard.payload.text.length, 50_000);
      assert.equal(socket.conn, before, "the connection is the same");
      const late = await connect(t, server, { ...client, transport: Trusting });
      assert.equal((await answer(late.channel("room:2", {}).join())).status, "ok");
    });
  });
}
