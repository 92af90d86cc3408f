// Programs that drive clients of other languages: what they want done they ask the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { serve } from "./start.mjs";

const ENOUGH_MS = 90_000;

/** Runs a program, which is given the address of the sockets last; answers `{code, said}`. */
export async function converse(t, program, args, server) {
  const all = [...args, `${server.socketUrl}/websocket`];
  const child = spawn(program, all, { stdio: ["pipe", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  const timer = setTimeout(() => child.kill("SIGKILL"), ENOUGH_MS);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (said += text));
  // It may end before it has read an answer.
  child.stdin.on("error", () => {});
  const closed = once(child, "close");
  for await (const line of createInterface(child.stdout)) {
    if (!line.startsWith("{")) continue;
    const { do: what, topic, ...message } = JSON.parse(line);
    if (what === "restart") await server.restart();
    else if (what === "publish") await server.must("POST", `/v1/topics/${topic}`, message);
    child.stdin.write("done\n");
  }
  const [code] = await closed;
  clearTimeout(timer);
  return { code, said };
}

/** A server that bears no silence if the client beats, with a table of 600 rows. */
export async function surroundings(t, beats) {
  const config = `${beats ? "socket_idle_ms = 2000\n" : ""}
[[live]]
topic = "room:*"
anyone_publishes = true

[[live]]
topic = "realtime:*"
anyone_publishes = true
presence = "list"
`;
  const server = await serve(t, config);
  await server.createPublicTable("d", "many");
  const row = (n) => ({ op: "put", table: "many", key: `k${n}`, row: { n } });
  await server.commit("d", Array.from({ length: 600 }, (_, n) => row(n)));
  return server;
}
