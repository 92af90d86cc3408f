// Every way in which a server may refuse its clients, or send them away, and how it ends.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import WebSocket from "ws";

import { Between } from "./between.mjs";
import { HANGING_DISK, serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;

export const LIVE = `
[[live]]
topic = "room:*"
anyone_publishes = true
history = 100

[[live]]
topic = "realtime:*"
anyone_publishes = true
`;

/**
 * Troubles at the door. `config` is what the server is told, `answer` what it answers a client that
 * comes meanwhile, `begin` puts it into that state for clients that have been shut out, and
 * answers how it ends.
 */
export const REFUSALS = [
  {
    name: "429 rate_limited",
    config: `${LIVE}
[rate]
loopback = true
connections = 10
connections_burst = 60`,
    answer: /rate_limited|"status":500/,
    begin: async ({ t, server }) => {
      // As many as are let in at once, again and again.
      let goes = true;
      let isCrowded = false;
      const crowd = (async () => {
        while (goes) {
          const answers = await Promise.all(Array.from({ length: 20 }, () => knock(server)));
          isCrowded ||= answers.some((answer) => answer.includes("rate_limited"));
        }
      })();
      const end = async () => {
        goes = false;
        await crowd;
      };
      t.after(end);
      await eventually("no client is let in", NEWS_MS, () => isCrowded);
      return end;
    },
  },
  {
    name: "429 too_many_sockets",
    config: `sockets_per_address = 40\n${LIVE}\n[rate]\nloopback = true`,
    answer: /too_many_sockets|"status":500/,
    begin: filled,
  },
  {
    name: "503 overloaded",
    config: `sockets = 40\n${LIVE}`,
    answer: /overloaded|no place for another|"status":500/,
    begin: filled,
  },
  {
    name: "503 loading",
    config: LIVE,
    answer: /loading|"status":500/,
    begin: async ({ server }) => {
      await server.kill();
      const [library, hangs] = ["hanging.so", "hangs"].map((name) => join(server.data, name));
      execFileSync("cc", ["-shared", "-fPIC", "-o", library, HANGING_DISK, "-ldl"]);
      await writeFile(hangs, "");
      const started = server.start({
        LD_PRELOAD: library,
        DISK_HANGS: hangs,
        DISK_HANGS_AT: "/datasets/d/",
      });
      await eventually("it loads", NEWS_MS, async () => {
        const answer = await fetch(`${server.url}/readyz`).catch(() => null);
        return answer?.status === 503;
      });
      return async () => {
        await rm(hangs);
        await started;
      };
    },
  },
];

/** Ends of connections without refusals for long. */
export const ENDINGS = [
  { name: "a cut", config: LIVE, end: ({ betweens }) => betweens.forEach((one) => one.cut()) },
  { name: "a kill", config: LIVE, end: ({ server }) => server.restart() },
  { name: "a drain (1012)", config: LIVE, end: ({ server }) => server.restart("SIGTERM") },
];

/** A server that is told this, and a way to it for each of so many clients. */
export async function surroundings(t, { config }, count) {
  const server = await serve(t, config);
  await server.createPublicTable("d", "t");
  const opened = Array.from({ length: count }, () => Between.open(t, server));
  return { t, server, betweens: await Promise.all(opened) };
}

/** Has every client refused once: answers how the refusal ends. */
export async function refused(around, { answer, begin }) {
  const { betweens } = around;
  betweens.forEach((between) => between.shut());
  const end = await begin(around);
  betweens.forEach((between) => between.reopen());
  await Promise.all(betweens.map((between) => between.answered(answer)));
  return end;
}

/** One row more in the table that all clients follow, as soon as the server takes it. */
export function put(server, key) {
  const ops = [{ op: "put", table: "t", key, row: { key } }];
  return eventually(`a commit of ${key}`, NEWS_MS, async () => {
    const answer = await server.request("POST", "/v1/datasets/d/commits", { ops });
    if (answer.status === 200) return true;
    if (![429, 503].includes(answer.status)) throw new Error(JSON.stringify(answer.body));
  });
}

/** Takes every place that there is, also those that become free, and gives them back in the end. */
async function filled({ t, server }) {
  const sockets = new Set();
  let [goes, isFull] = [true, false];
  const crowd = (async () => {
    while (goes) {
      const socket = new WebSocket(`${server.socketUrl}/websocket?vsn=2.0.0`);
      sockets.add(socket);
      socket.on("error", () => {});
      const settles = (event) => once(socket, event).catch(() => {});
      await Promise.race([settles("open"), settles("close")]);
      if (socket.readyState === WebSocket.OPEN) continue;
      sockets.delete(socket);
      isFull = true;
      await sleep(20);
    }
  })();
  const end = async () => {
    goes = false;
    await crowd;
    sockets.forEach((socket) => socket.terminate());
  };
  t.after(end);
  await eventually("every place is taken", NEWS_MS, () => isFull);
  return end;
}

/** A connection that comes and goes; what it was answered. */
async function knock(server) {
  const { hostname, port } = new URL(server.url);
  const socket = net.connect(Number(port), hostname);
  let heard = "";
  socket.on("error", () => {});
  socket.setEncoding("latin1").on("data", (text) => (heard += text));
  socket.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  await once(socket, "close");
  return heard;
}
